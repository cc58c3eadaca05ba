"""Figure of a decision log's replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from experiments.analysis.plots.canvas import BLUE, DARK, GREEN, MUTED, ORANGE, RED, canvas, class_colours, save
from experiments.analysis.replay import LogReplay, PolicyComparison, solves
from experiments.analysis.situation import Situation

POLICY_COLOURS = (ORANGE, DARK, MUTED, BLUE, GREEN)


def draw_replay(path: Path, one: Situation, found: LogReplay) -> None:
    """Draws the decisions over time, their solve times, and the results that other policies would have had."""
    figure = canvas(f"How did the controller do? {_story(found)}", 13, 9.5)
    panels = figure.subplots(2, 2)
    minutes = [(entry.time_s - found.entries[0].time_s) / 60.0 for entry in found.entries]
    _thresholds(panels[0, 0], one, found, minutes)
    _rate(panels[0, 1], found, minutes)
    _solves(panels[1, 0], found)
    _policies(panels[1, 1], found)
    save(figure, path)


def _story(found: LogReplay) -> str:
    by_name = {policy.name: policy for policy in found.policies}
    if not by_name:
        return "No load was seen"
    own, full = by_name["the log"], by_name["full thought"]
    faster = 1.0 - own.latency_s / full.latency_s if full.latency_s > 0.0 else 0.0
    points = 100 * (own.accuracy - full.accuracy)
    return f"Against full thought {faster:.0%} less waiting, {points:+.1f} points of accuracy"


def _thresholds(axes: Axes, one: Situation, found: LogReplay, minutes: list[float]) -> None:
    axes.set(title=f"Thresholds moved {max(found.movement):.3f} a minute at most", xlabel="minutes", ylabel="threshold")
    for d, (name, colour) in enumerate(zip(one.tables.classes, class_colours(len(one.tables.classes)), strict=True)):
        values = [min(entry.threshold[d], 1.0) for entry in found.entries]
        axes.step(minutes, values, where="post", color=colour, linewidth=3.0 - 0.7 * d, label=name)
    axes.set_ylim(min(0.85, axes.get_ylim()[0]), 1.02)
    axes.legend(framealpha=0.85)
    axes.grid(color="#ececec")


def _rate(axes: Axes, found: LogReplay, minutes: list[float]) -> None:
    top = max(entry.rate for entry in found.entries)
    told = ", ".join(f"{name} {count}" for name, count in found.rungs.items())
    axes.set(title=f"Decisions: {told}", xlabel="minutes", ylabel="arrival rate estimated, requests/s")
    axes.plot(minutes, [entry.rate for entry in found.entries], color=MUTED, linewidth=1.0, zorder=1)
    colours = (BLUE, ORANGE, GREEN, RED)
    for number, rung in enumerate(found.rungs):
        chosen = [(at, entry.rate) for at, entry in zip(minutes, found.entries, strict=True) if entry.rung == rung]
        axes.plot(*zip(*chosen, strict=True), "o", markersize=4, color=colours[number % 4], label=rung)
    failed = [(at, entry.rate) for at, entry in zip(minutes, found.entries, strict=True) if entry.failed]
    if failed:
        axes.plot(*zip(*failed, strict=True), "x", markersize=9, color=RED, label="something was wrong")
    axes.set_ylim(0, 1.25 * max(top, 1e-3))
    axes.legend(loc="upper left", ncols=2, framealpha=0.85)
    axes.grid(color="#ececec")


def _solves(axes: Axes, found: LogReplay) -> None:
    axes.set(xlabel="time to solve, ms, logarithmic", ylabel="solves")
    if found.solve_median_ms is None or found.solve_p99_ms is None:
        axes.set(title="Nothing was solved")
        return
    axes.set(title=f"{found.solves} solves: median {found.solve_median_ms:.1f} ms, p99 {found.solve_p99_ms:.1f} ms")
    solve_ms = np.maximum(1e3 * np.array(solves(found.entries)), 1e-3)
    axes.hist(
        solve_ms, bins=np.geomspace(solve_ms.min() / 1.2, solve_ms.max() * 1.2, 41).tolist(), color=BLUE, alpha=0.7
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(found.solve_median_ms, color=DARK, linewidth=1.4, label="median")
    axes.axvline(found.solve_p99_ms, color=RED, linewidth=1.4, linestyle="--", label="p99")
    axes.legend(framealpha=0.85)


def _policies(axes: Axes, found: LogReplay) -> None:
    axes.set(title="Other policies under the same loads, by the plant model", xlabel="mean latency, s")
    names = []
    for place, policy in enumerate(found.policies):
        colour = POLICY_COLOURS[place % len(POLICY_COLOURS)]
        axes.barh(place, policy.latency_s, 0.6, color=colour)
        axes.annotate(_told(policy), (policy.latency_s, place), (5, 0), textcoords="offset points", va="center")
        names.append(policy.name.replace(" threshold", "\nthreshold").replace(", ", ",\n"))
    if names:
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 1.7 * max(policy.latency_s for policy in found.policies))


def _told(policy: PolicyComparison) -> str:
    told = f"{policy.latency_s:.2f} s, {policy.accuracy:.1%} right"
    if policy.shed > 0.0005:
        told += f", {policy.shed:.1%} shed"
    return told + (f"\noverloaded {policy.overloaded:.0%} of the time" if policy.overloaded > 0.0 else "")
