"""Draws an evaluation as one figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.evaluation.breakdown import Breakdown
from experiments.evaluation.reliability import Calibration
from experiments.evaluation.report import Evaluation
from experiments.evaluation.summary import SCORE_NAMES
from experiments.figures import label as named
from experiments.statistics import Proportion
from models.files.replacement import replacing
from models.score import Score

SCORE_COLOURS = {Score.GEOMETRIC_MEAN: "#1f5fa8", Score.JOINT: "#d9722e"}
BUDGETS, FULL, MUTED = "#3b8f5a", "#222222", "#8a8a8a"
APART = 0.055  # share of an axis: nearer points share one label


def draw(path: Path, figures: Evaluation) -> None:
    """Draws calibration, the cost of early exit, thought lengths and accuracy into a PNG file."""
    figure = Figure(figsize=(13, 9.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    _reliability(panels[0, 0], figures.calibration.all)
    _tradeoff(panels[0, 1], figures)
    _lengths(panels[1, 0], figures.breakdown)
    _accuracies(panels[1, 1], figures.breakdown)
    with replacing(path) as draft:
        figure.savefig(draft, format="png", dpi=120)


def _reliability(axes: Axes, found: Calibration | None) -> None:
    axes.set(title="Can a probe's confidence be believed?", xlabel="confidence", ylabel="trial answers that are right")
    axes.set(xlim=(0, 1), ylim=(0, 1.3), yticks=np.linspace(0, 1, 6))  # the legend lies above 100 %
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="as sure as right")
    if found is not None:
        counts = axes.twinx()
        counts.set_ylabel("probes per bin, logarithmic")
        for number, (score, of) in enumerate(found.scores.items()):
            colour = SCORE_COLOURS[score]
            width = (of.bins[0].high - of.bins[0].low) * 0.42
            places = [one.low + width * (0.2 + number * 1.0) for one in of.bins]
            heights = [one.count for one in of.bins]
            counts.bar(places, heights, width, align="edge", color=colour, alpha=0.22, linewidth=0)
            area = "" if of.auroc is None else f", AUROC {of.auroc:.3f}"
            full = [(one.score, one.accuracy) for one in of.bins if one.score is not None and one.accuracy is not None]
            label = f"{SCORE_NAMES[score]}: ECE {of.error:.3f}{area}"
            axes.plot(*zip(*full, strict=True), color=colour, marker="o", markersize=5, label=label)
        counts.set_yscale("log")
        counts.set_yticks([10**power for power in range(7) if 10**power <= 2 * found.right.count], minor=False)
        counts.minorticks_off()
        counts.set_ylim(0.8, max(10, found.right.count) ** 2)  # bars stay in the lower half
        axes.set_zorder(counts.get_zorder() + 1)
        axes.patch.set_visible(False)
    axes.legend(loc="upper left", fontsize=9, framealpha=0.85)


def _tradeoff(axes: Axes, figures: Evaluation) -> None:
    axes.set(
        title="What do fewer tokens cost?", xlabel="tokens decoded per question, probes included", ylabel="accuracy"
    )
    whole = figures.breakdown.all
    for score, sweep in figures.thresholds.items():
        tokens, accuracy = [one.tokens for one in sweep.all], [one.accuracy for one in sweep.all]
        style = "-" if score is figures.score else "--"
        label = f"threshold on {SCORE_NAMES[score]}"
        axes.plot(tokens, accuracy, style, color=SCORE_COLOURS[score], marker="o", markersize=4.5, label=label)
    if figures.budgets:
        axes.plot(
            [one.tokens for one in figures.budgets],
            [one.accuracy.share for one in figures.budgets],
            color=BUDGETS,
            marker="s",
            markersize=5,
            label="token budget, served",
        )
    for one in figures.served:
        if one.budget is None:
            what = f"threshold {one.threshold:.2f}" if one.threshold is not None else f"temperature {one.temperature:g}"
            axes.plot(
                one.tokens,
                one.accuracy.share,
                "D" if one.threshold is not None else "X",
                markersize=6,
                color=MUTED,
                label=f"{what}, served",
            )
    axes.errorbar(
        whole.tokens, whole.accuracy.share, _error(whole.accuracy), fmt="*", markersize=14, color=FULL, capsize=3,
        label="full thought, with 95 % interval",
    )  # fmt: skip
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.margins(x=0.1, y=0.08)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, fontsize=9, frameon=False)
    default, colour = figures.thresholds[figures.score].all, SCORE_COLOURS[figures.score]
    _label(axes, {f"{one.threshold:.2f}": (one.tokens, one.accuracy) for one in default}, colour)
    budgets = {f"{one.budget}": (one.tokens, one.accuracy.share) for one in figures.budgets}
    _label(axes, budgets, BUDGETS)


def _label(axes: Axes, points: Mapping[str, tuple[float, float]], colour: str) -> None:
    """Labels points, except those too near to a labelled point."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    named: list[tuple[float, float]] = []
    for text, (x, y) in points.items():
        place = ((x - left) / (right - left), (y - low) / (high - low))
        if all(abs(place[0] - other[0]) + abs(place[1] - other[1]) > APART for other in named):
            named.append(place)
            axes.annotate(text, (x, y), (-6, 6), textcoords="offset points", ha="right", fontsize=8, color=colour)


def _split_colours(count: int) -> list[tuple[float, float, float, float]]:
    """Returns one colour per split, from light for the first to dark for the last."""
    return [colormaps["viridis_r"](0.15 + 0.8 * number / max(1, count - 1)) for number in range(count)]


def _lengths(axes: Axes, found: Breakdown) -> None:
    axes.set(title="How long are full thoughts?", xlabel="thought length, tokens", ylabel="thoughts per bin")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    groups = found.splits or {"all": found.all}
    for (split, group), colour in zip(groups.items(), _split_colours(len(groups)), strict=True):
        thought = group.thought
        shares = np.array(thought.histogram) / group.accuracy.count
        edges = np.arange(len(shares) + 1) * thought.bin_width
        axes.stairs(shares, edges, color=colour, fill=True, alpha=0.3)
        label = f"{named(split)}: mean {thought.mean:.0f}, {group.accuracy.count} thoughts"
        axes.stairs(shares, edges, color=colour, linewidth=1.8, label=label)
        axes.axvline(thought.mean, color=colour, linewidth=1, linestyle=":")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.12)
    axes.set_xlim(_first_bin(found), (len(found.all.thought.histogram) + 1) * found.all.thought.bin_width)
    axes.legend(fontsize=9, framealpha=0.85)


def _first_bin(found: Breakdown) -> float:
    thought = found.all.thought
    return max(0, int(np.flatnonzero(thought.histogram)[0]) - 1) * thought.bin_width


def _accuracies(axes: Axes, found: Breakdown) -> None:
    axes.set(title="How often is the full thought right?", xlabel="accuracy, with 95 % interval")
    labels: list[str] = []
    colours = dict(zip(found.splits, _split_colours(len(found.splits)), strict=True))
    shown: set[str] = set()
    for row, (name, benchmark) in enumerate(found.benchmarks.items()):
        of = benchmark.all.accuracy
        axes.errorbar(of.share, row, xerr=_error(of), fmt="o", markersize=8, color=FULL, capsize=4, linewidth=2)
        labels.append(f"{named(name)}\n{of.share:.1%} of {of.count}")
        splits = list(found.splits)
        for split, group in benchmark.splits.items():
            number = splits.index(split)
            place = row + 0.5 * (number + 1) / (len(splits) + 1) + 0.06
            axes.errorbar(
                group.accuracy.share,
                place,
                xerr=_error(group.accuracy),
                fmt="o",
                markersize=4.5,
                capsize=2,
                linewidth=1.2,
                color=colours[split],
                label=None if split in shown else named(split),
            )
            shown.add(split)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.25, -0.4)
    axes.set_xlim(right=1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.grid(axis="x", color="#e4e4e4")
    axes.set_axisbelow(True)
    if shown:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=5, fontsize=9, frameon=False)


def _error(of: Proportion) -> list[list[float]]:
    """Returns the lengths of an error bar's two sides."""
    return [[max(0.0, of.share - of.low)], [max(0.0, of.high - of.share)]]
