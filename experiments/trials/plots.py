"""Draws findings as one figure: for each workload, accuracy against latency, and the distribution of latencies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, PercentFormatter

from experiments.figures import label
from experiments.trials.findings import Findings, WorkloadFound
from models.files.replacement import replacing

CANDIDATE = "#b8b8b8"  # constant settings that were run for hindsight
MARKERS = "os^Dv<>PX*ph"


def draw(path: Path, found: Findings) -> None:
    """Draws the workloads, one row each, into a PNG file."""
    rows = max(1, len(found.workloads))
    figure = Figure(figsize=(14, 4.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 2, squeeze=False)
    named = {name: place for place, name in enumerate(found.experiment.policy_names)}
    for (left, right), of in zip(panels, found.workloads, strict=False):
        _tradeoff(left, of, named)
        _latencies(right, of, named)
    if found.experiment.synthetic is not None:
        figure.suptitle(f"Simulated, {found.experiment.synthetic.name}")
    with replacing(path) as draft:
        figure.savefig(draft, format="png", dpi=110)


def _tradeoff(axes: Axes, of: WorkloadFound, named: dict[str, int]) -> None:
    axes.set(
        title=f"{label(of.name)}: what does latency buy?", xlabel="mean latency, s", ylabel="accuracy, 95 % interval"
    )
    for name, one in of.policies.items():
        accuracy, mean = one.outcome.accuracy, one.outcome.latency.mean
        if name not in named:
            axes.plot(mean, accuracy.share, ".", color=CANDIDATE, markersize=6, zorder=1)
            continue
        error = [[max(0.0, accuracy.share - accuracy.low)], [max(0.0, accuracy.high - accuracy.share)]]
        axes.errorbar(
            mean, accuracy.share, error, fmt=MARKERS[named[name] % len(MARKERS)], color=_colour(named[name]),
            markersize=7, linewidth=1, capsize=2, label=label(name), zorder=2,
        )  # fmt: skip
    if set(of.policies) - set(named):
        axes.plot([], [], ".", color=CANDIDATE, label="other constant settings")
    _logarithmic(axes)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(color="#ececec")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _latencies(axes: Axes, of: WorkloadFound, named: dict[str, int]) -> None:
    axes.set(title=f"{label(of.name)}: requests that end within …", xlabel="latency, s", ylabel="share of requests")
    for name, place in named.items():
        if name in of.runs:
            latencies = np.sort([one.latency_s for run in of.runs[name] for one in run if one.error is None])
            axes.step(latencies, np.arange(1, len(latencies) + 1) / len(latencies), color=_colour(place), linewidth=1.4)
    _logarithmic(axes)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(color="#ececec")


def _logarithmic(axes: Axes) -> None:
    """Makes the x axis logarithmic, with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axes.xaxis.set_minor_formatter("{x:g}")


def _colour(place: int) -> tuple[float, float, float, float]:
    return colormaps["tab20"](place % 20)
