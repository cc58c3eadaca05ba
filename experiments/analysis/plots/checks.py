"""Figures of the model checks and of the cost of wrong beliefs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from experiments.analysis.checks import Checks
from experiments.analysis.misspecification import Misspecification
from experiments.analysis.plots.canvas import BLUE, DARK, GREEN, ORANGE, RED, canvas, percent, save
from experiments.analysis.situation import Situation


def draw_checks(path: Path, one: Situation, found: Checks) -> None:
    """Draws the plant against a simulation, its tangents, and the gains over two other solvers."""
    worst = max(abs(point.error) for point in found.simulated)
    figure = canvas(f"Can the models be believed? Off by {worst:.1%} at worst against a simulation", 15, 5.2)
    plant, lines, values = figure.subplots(1, 3)
    _plant(plant, one, found)
    lines.set(title=f"{one.objective.tangents} tangents fall {found.tangents.worst:.2%} short at worst")
    lines.set(xlabel="load of the machine", ylabel="tangents against the plant model")
    lines.fill_between(found.tangents.loads, found.tangents.errors, color=BLUE, alpha=0.5)
    lines.set_ylim(top=0.0)
    percent(lines)
    percent(lines, x=True)
    _gaps(values, found)
    for axes in (plant, lines, values):
        axes.grid(color="#ececec")
        axes.set_axisbelow(True)
    save(figure, path)


def _plant(axes: Axes, one: Situation, found: Checks) -> None:
    axes.set(title="Plant model against simulation", xlabel="load of the machine", ylabel="requests in the system")
    loads = np.linspace(0.01, max(point.load for point in found.simulated), 80)
    told = [one.plant.in_system(float(load) * one.plant.capacity) for load in loads]
    axes.plot(loads, told, color=BLUE, linewidth=2, label="birth-death model")
    x = [point.load for point in found.simulated]
    axes.plot(x, [point.simulated for point in found.simulated], "o", color=ORANGE, label="simulated, every token")
    for point in found.simulated:
        axes.annotate(
            f"{point.error:+.1%}", (point.load, point.simulated), (-6, 6), textcoords="offset points", ha="right",
            fontsize=8, color=DARK,
        )  # fmt: skip
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.9), framealpha=0.85)
    percent(axes, x=True)


def _gaps(axes: Axes, found: Checks) -> None:
    rates = [gap.rate for gap in found.gaps]
    axes.set(title="The linear program against other ways to decide", xlabel="arrival rate, requests/s")
    axes.set_ylabel("gain of the linear program,\ncorrect answers per 10 000 requests")
    width = 0.35 * (rates[1] - rates[0] if len(rates) > 1 else 1.0)
    for side, (name, colour) in enumerate((("price_bisection", GREEN), ("brute_force", ORANGE))):
        bars = [
            (gap.rate + (side - 0.5) * width, 1e4 * (gap.linear_program - other))
            for gap in found.gaps
            if (other := getattr(gap, name)) is not None
        ]
        label = "over price bisection" if side == 0 else "over every unmixed setting"
        if bars:
            places, gains = zip(*bars, strict=True)
            axes.bar(places, gains, width, color=colour, label=label)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -0.5), max(high, 1.0) * 1.35)
    axes.axhline(0.0, color=DARK, linewidth=0.8)
    most = max((abs(1e4 * (gap.linear_program - gap.price_bisection)) for gap in found.gaps), default=0.0)
    axes.annotate(
        f"price bisection: never further off than {most:.2g}", (0.03, 0.8), xycoords="axes fraction", fontsize=9
    )
    axes.legend(loc="upper left", framealpha=0.85)


def draw_tornado(path: Path, found: Sequence[Misspecification]) -> None:
    """Draws, for each regime, how every wrong belief changes latency and accuracy."""
    figure = canvas("What do wrong beliefs cost, until they are corrected?", 14, 4.4 * len(found))
    panels = figure.subplots(len(found), 2, squeeze=False, sharey="row")
    for row, one in zip(panels, found, strict=True):
        _tornado(row[0], row[1], one)
    handles, labels = panels[0, 1].get_legend_handles_labels()
    told = "decisions under these beliefs, met by the plant and load as they are"
    figure.legend(handles, labels, title=told, loc="outside lower center", ncols=2, frameon=False)
    save(figure, path)


def _tornado(latency: Axes, accuracy: Axes, found: Misspecification) -> None:
    names = list(dict.fromkeys(belief.name for belief in found.wrong))
    span = max((abs(b.latency_change_s) for b in found.wrong if b.latency_change_s is not None), default=0.0)
    span = max(span, 0.05 * (found.right.latency_s or 1.0))
    widest = max(0.01, *(abs(belief.accuracy_change) for belief in found.wrong))
    for belief in found.wrong:
        low = belief.factor < 1.0
        colour = BLUE if low else ORANGE
        place = names.index(belief.name) + (-0.19 if low else 0.19)
        label = f"believed {belief.factor - 1.0:+.0%}" if belief.name == names[0] else None
        change = belief.latency_change_s
        accuracy.barh(place, belief.accuracy_change, 0.36, color=colour, label=label)
        _tell(accuracy, place, belief.accuracy_change, f"{100 * belief.accuracy_change:+.1f}", widest)
        if change is None:
            latency.barh(place, 1.5 * span, 0.36, color=RED, alpha=0.75, hatch="//", edgecolor="white")
            said = f"overload: {belief.outcome.load:.1%} of capacity"
            latency.annotate(
                said, (0.0, place), (-5, 0), textcoords="offset points", va="center", ha="right", color=RED
            )
        else:
            latency.barh(place, change, 0.36, color=colour)
            _tell(latency, place, change, f"{change:+.2f} s", span)
            if belief.outcome.shed > max(0.005, found.right.shed + 0.005):
                latency.annotate(
                    f"{belief.outcome.shed:.0%} turned away", (max(0.0, change), place), (8, 0), va="center",
                    textcoords="offset points", fontsize=8, color=RED,
                )  # fmt: skip
    for axes, most in ((latency, span), (accuracy, widest)):
        axes.axvline(0.0, color=DARK, linewidth=1)
        axes.set_xlim(-1.75 * most, 1.75 * most)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="x", color="#ececec")
        axes.set_axisbelow(True)
    latency.set_yticks(range(len(names)), names)
    right = found.right
    wait = "overload" if right.latency_s is None else f"{right.latency_s:.2f} s"
    latency.set(title=f"{found.regime.capitalize()}, {found.rate:.3g} requests/s: mean latency, {wait} when right")
    latency.set(xlabel="change of mean latency, s")
    accuracy.set(title=f"Answered correctly, {right.accuracy:.1%} when right", xlabel="change, points of all requests")
    percent(accuracy, x=True)


def _tell(axes: Axes, place: float, value: float, text: str, span: float) -> None:
    left = value < -0.005 * span
    axes.annotate(
        text, (value, place), (-4 if left else 4, 0), textcoords="offset points", va="center", fontsize=8,
        ha="right" if left else "left", color=DARK,
    )  # fmt: skip
