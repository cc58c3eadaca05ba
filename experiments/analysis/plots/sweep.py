"""Figures of shadow prices and of capacity, against the arrival rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from experiments.analysis.capacity import Capacity
from experiments.analysis.plots.canvas import (
    BLUE,
    DARK,
    GREEN,
    MUTED,
    ORANGE,
    RED,
    canvas,
    class_colours,
    percent,
    roomy,
    save,
    upright,
)
from experiments.analysis.situation import Situation
from experiments.analysis.sweep import SURGE_S, RateSweep

NOTHING = 1e-5  # smaller prices are drawn as 0: they are residues of the interior-point solver


def draw_prices(path: Path, one: Situation, found: RateSweep, bears: Capacity) -> None:
    """Draws the price of one unit of each constraint."""
    figure = canvas("What is scarce, and what is it worth?", 13, 9.5)
    panels = figure.subplots(2, 2)
    rates = [step.rate for step in found.steps]
    _token(panels[0, 0], rates, found)
    _decided(panels[0, 1], rates, found)
    kind = "the objective's floors" if found.floors_wanted else "floors 2 points below full thought"
    wanted = ", ".join(f"{name} {floor:.1%}" for name, floor in zip(one.tables.classes, found.floors, strict=True))
    _by_class(
        panels[1, 0],
        one,
        rates,
        [step.floor_price for step in found.steps],
        title=f"Price of a point of accuracy: {kind}\n({wanted})",
        ylabel="correct answers lost per 100 requests\nfor one point of the floor",
    )
    _by_class(
        panels[1, 1],
        one,
        rates,
        [step.surge_price for step in found.steps],
        title=f"Price of moving slowly, {SURGE_S:g} s into a surge\n"
        f"(thresholds may move by {one.objective.threshold_rate:g} a second)",
        ylabel="correct answers lost per 100 requests\nfor 0.01 of threshold not yet moved",
    )
    for axes in panels.ravel():
        axes.set_xlabel("arrival rate, requests/s")
        upright(axes, bears.sheds_from, "sheds from here", colour=RED, top=axes is not panels[0, 1])
        axes.set_xlim(0, rates[-1])
    save(figure, path)


def _token(axes: Axes, rates: Sequence[float], found: RateSweep) -> None:
    total = [max(1e3 * step.token_price, 1e-7) for step in found.steps]
    waiting = [max(1e3 * step.latency_price, 1e-7) for step in found.steps]
    axes.set(title="Price of a thousand tokens", ylabel="correct answers per 1000 tokens, logarithmic")
    axes.fill_between(rates, waiting, total, color=ORANGE, alpha=0.3, label="for the bound on demand")
    axes.fill_between(
        rates, [min(waiting) / 2] * len(rates), waiting, color=BLUE, alpha=0.2, label="for others' waiting"
    )
    axes.plot(rates, total, color=DARK, linewidth=2, label="token price")
    axes.set_yscale("log")
    axes.set_ylim(min(waiting) / 2, 3 * max(total))
    axes.legend(loc="upper left", framealpha=0.85)
    axes.grid(color="#ececec")


def _decided(axes: Axes, rates: Sequence[float], found: RateSweep) -> None:
    axes.set(title="What these prices lead to", ylabel="share")
    axes.plot(rates, [step.accuracy for step in found.steps], color=GREEN, linewidth=2.2, label="accuracy, if served")
    axes.plot(rates, [step.load for step in found.steps], color=BLUE, linewidth=2.2, label="load of the machine")
    axes.plot(rates, [step.shed for step in found.steps], color=RED, linewidth=2.2, label="turned away")
    axes.set_ylim(-0.03, 1.05)
    percent(axes)
    waits = axes.twinx()
    served = [(step.rate, step.latency_s) for step in found.steps if step.latency_s is not None]
    waits.plot(*zip(*served, strict=True), color=MUTED, linewidth=1.8, linestyle="--")
    waits.set_ylabel("mean latency, s (dashed)", color=MUTED)
    waits.set_ylim(bottom=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.55, 0.08), framealpha=0.85)
    axes.grid(color="#ececec")


def _by_class(
    axes: Axes,
    one: Situation,
    rates: Sequence[float],
    prices: Sequence[tuple[float, ...]],
    *,
    title: str,
    ylabel: str,
) -> None:
    axes.set(title=title, ylabel=ylabel)
    table = np.array(prices)
    table[table < NOTHING] = 0.0
    for d, (name, colour) in enumerate(zip(one.tables.classes, class_colours(len(one.tables.classes)), strict=True)):
        axes.plot(rates, table[:, d], color=colour, linewidth=5.0 - 1.4 * d, label=name)
    if not table.any():
        axes.annotate("never binds", (0.5, 0.5), xycoords="axes fraction", ha="center", fontsize=12, color=MUTED)
        axes.set_ylim(-0.02, 1.0)
    axes.legend(loc="upper left", framealpha=0.85)
    axes.grid(color="#ececec")


def draw_capacity(path: Path, one: Situation, found: Capacity, decided: RateSweep) -> None:
    """Draws the largest rate for each loss of accuracy, and the decisions over all rates."""
    gain = found.sheds_from / found.full_thought_rate
    told = f"{gain:.2g} times what full thought could" if gain > 1.05 else "What full thought could"
    figure = canvas(f"How much can the machine bear? {told}", 13, 5.8)
    left, right = figure.subplots(1, 2)
    rates, losses = [limit.rate for limit in found.bearable], [limit.loss for limit in found.bearable]
    far = sum(rate <= found.sheds_from for rate in rates)  # beyond these points shedding is better
    far = max(1, min(far, rates.index(max(rates)) + 1))  # and after the largest rate nothing more is gained
    left.plot(rates[:far], losses[:far], color=ORANGE, marker="o", linewidth=2.2)
    left.set(title="The largest rate for each loss of accuracy, nobody turned away")
    left.set(xlabel="arrival rate, requests/s", ylabel="most accuracy that any class loses")
    lowest = min(found.full_thought_rate, *one.rates, rates[0])
    top = max(found.sheds_from, *rates[:far], *(rate for rate in one.rates if rate < 1.5 * found.sheds_from))
    top = max(top, 1.02 * lowest)
    left.set_xlim(lowest - 0.08 * (top - lowest), top + 0.08 * (top - lowest))
    roomy(left, losses[:far], 0.02)
    percent(left)
    named = -1.0
    beside: dict[str, Any] = {"xytext": (-8, 4), "textcoords": "offset points", "ha": "right", "color": ORANGE}
    for rate, loss in zip(rates[:far], losses[:far], strict=True):
        if loss - named > 0.045 * (left.get_ylim()[1] - left.get_ylim()[0]):  # nearer points share one label
            named = loss
            left.annotate(f"{rate:.4g}/s", (rate, loss), **beside)
    upright(left, found.full_thought_rate, "full thought")
    for headroom in found.headroom:
        if left.get_xlim()[0] < headroom.rate < left.get_xlim()[1]:
            spare = "beyond" if headroom.factor < 1.0 else f"{headroom.factor - 1.0:.0%} headroom"
            upright(left, headroom.rate, f"{headroom.rate:g}/s: {spare}", colour=BLUE)
    upright(left, found.sheds_from, "sheds from here", colour=RED, top=False)

    x = [step.rate for step in decided.steps]
    then = (
        "Accuracy gives way first, then requests are turned away" if gain > 1.05 else "Beyond, requests are turned away"
    )
    right.set(title=then, xlabel="arrival rate, requests/s")
    right.plot(x, [step.accuracy for step in decided.steps], color=GREEN, linewidth=2.4, label="accuracy, if served")
    shed = [step.shed for step in decided.steps]
    right.fill_between(x, shed, color=RED, alpha=0.35, label="turned away")
    right.plot(x, shed, color=RED, linewidth=1.5)
    right.set(ylabel="share", ylim=(0, 1.05), xlim=(0, x[-1]))
    percent(right)
    upright(right, found.full_thought_rate, "most with full thought")
    upright(right, found.sheds_from, "sheds from here", colour=RED)
    right.legend(loc="center left", framealpha=0.85)
    for axes in (left, right):
        axes.grid(color="#ececec")
        axes.set_axisbelow(True)
    save(figure, path)
