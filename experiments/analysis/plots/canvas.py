"""Helpers that all figures share: creating and saving a figure, colours, and uniform axes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from models.files.replacement import replacing

BLUE, ORANGE, GREEN, RED, DARK, MUTED = "#1f5fa8", "#d9722e", "#3b8f5a", "#b3312c", "#222222", "#8a8a8a"


def canvas(title: str, width: float, height: float) -> Figure:
    """Returns an empty figure; width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=14, fontweight="bold")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes the figure as a PNG file, whole or not at all."""
    with replacing(path) as draft:
        figure.savefig(draft, format="png", dpi=110)


def class_colours(count: int) -> list[tuple[float, float, float, float]]:
    """Returns one colour for each class, from light for the easiest to dark for the hardest."""
    return [colormaps["viridis_r"](0.2 + 0.75 * number / max(1, count - 1)) for number in range(count)]


def percent(axes: Axes, *, x: bool = False) -> None:
    """Formats the ticks of the y axis (`x`: of the x axis) in percent, with enough digits to differ."""
    axis = axes.xaxis if x else axes.yaxis

    def told(value: float, _: int | None) -> str:
        low, high = sorted(axes.get_xlim() if x else axes.get_ylim())
        digits = 0 if high - low > 0.045 else 1 if high - low > 0.0045 else 2
        return f"{100 * value:.{digits}f} %"

    axis.set_major_formatter(FuncFormatter(told))


def roomy(axes: Axes, values: Iterable[float], least: float) -> None:
    """Makes the y axis span the values with some room, at least `least` in all: noise must not fill a panel."""
    found = list(values)
    low, high = min(found), max(found)
    missing = max(0.0, least - (high - low)) / 2.0
    margin = 0.08 * max(high - low, least)
    axes.set_ylim(low - missing - margin, high + missing + margin)


def upright(axes: Axes, x: float, text: str, *, colour: str = MUTED, top: bool = True) -> None:
    """Draws a vertical line at `x` with `text` along it."""
    axes.axvline(x, color=colour, linewidth=1.2, linestyle=":", zorder=1)
    axes.annotate(
        text,
        (x, 0.98 if top else 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(-3, 0),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="top" if top else "bottom",
        fontsize=8,
        color=colour,
    )
