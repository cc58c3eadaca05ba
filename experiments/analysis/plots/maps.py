"""Figures of the policy map: heat maps over arrival rate and requests in the system, and cuts through them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap

from experiments.analysis.maps import Mapped
from experiments.analysis.plots.canvas import canvas, class_colours, save
from experiments.analysis.policy_table import PolicyTable
from experiments.analysis.situation import Situation

NEVER, UNBOUND = "never", "none"  # labels of no threshold and of no budget
LABELLED = 9  # at most this many levels are labelled


def draw_maps(path: Path, one: Situation, found: Mapped) -> None:
    """Draws heat maps: thresholds above, budgets below, a column for each class."""
    table = found.table
    figure = canvas(f"Which limits hold when? {_story(table)}", 4.6 * len(table.classes) + 1.5, 8.5)
    panels = figure.subplots(2, len(table.classes), squeeze=False, sharex=True, sharey=True)
    for row, (name, values, none) in enumerate(
        (("threshold", table.thresholds, NEVER), ("budget, tokens", table.budgets, UNBOUND))
    ):
        levels = _levels(values)
        shades = np.linspace(0.95, 0.1, len(levels)) if len(levels) > 1 else [0.1, 0.1]
        colours = ListedColormap(colormaps["viridis"](shades))
        norm = BoundaryNorm(np.arange(len(levels) + 1) - 0.5, max(2, len(levels)))
        for d, axes in enumerate(panels[row]):
            places = np.array([[levels.index(columns[d]) for columns in at] for at in values])
            image = axes.pcolormesh(
                _edges(table.rates), np.arange(table.rows + 1) + 0.5, places.T, cmap=colours, norm=norm
            )
            axes.plot(table.rates, np.clip(found.in_system, 1, table.rows), color="white", linewidth=4)
            axes.plot(table.rates, np.clip(found.in_system, 1, table.rows), color="black", linewidth=1.8)
            axes.set(title=f"{table.classes[d]}: {name}", ylim=(0.5, table.rows + 0.5))
            axes.set(xlabel="arrival rate, requests/s" if row else None)
            axes.set(ylabel="requests in the system" if d == 0 else None)
        ticks = np.unique(np.linspace(0, len(levels) - 1, min(len(levels), LABELLED)).round().astype(int))
        bar = figure.colorbar(image, ax=panels[row].tolist(), ticks=ticks.tolist())
        bar.ax.set_yticklabels([none if levels[k] is None else f"{levels[k]:g}" for k in ticks])
        bar.ax.minorticks_off()
        bar.set_label(name)
    figure.supxlabel("Black line: how many requests are in the system on average", fontsize=10)
    save(figure, path)


def _story(table: PolicyTable) -> str:
    moved = [
        name
        for name, values in (("thresholds", table.thresholds), ("budgets", table.budgets))
        if values[0][0] != values[-1][-1]
    ]
    return f"As the system fills, {' and '.join(moved)} fall" if moved else "The same ones at any load"


def _levels(values: tuple[tuple[tuple[Any, ...], ...], ...]) -> list[Any]:
    """Returns the distinct values, laxest threshold or shortest budget first; None (no limit) is last."""
    found = {value for at in values for columns in at for value in columns}
    return sorted(found - {None}) + ([None] if None in found else [])


def _edges(rates: Sequence[float]) -> np.ndarray[Any, Any]:
    middle = (np.array(rates)[1:] + np.array(rates)[:-1]) / 2.0
    return np.concatenate(([max(0.0, 1.5 * rates[0] - 0.5 * rates[1])], middle, [1.5 * rates[-1] - 0.5 * rates[-2]]))


def draw_cuts(path: Path, one: Situation, found: Mapped) -> None:
    """Draws thresholds and budgets against the number of requests in the system, and against the rate."""
    table = found.table
    place = min(int(np.searchsorted(table.rates, one.rates[-1])), len(table.rates) - 1)
    busy = min(one.plant.max_batch, table.rows)
    figure = canvas("How do the limits move, class by class?", 13, 8.5)
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    for row, (name, values, none) in enumerate(
        (("threshold", table.thresholds, NEVER), ("budget, tokens", table.budgets, UNBOUND))
    ):
        levels = _levels(values)
        named = np.unique(np.linspace(0, len(levels) - 1, min(len(levels), 12)).round().astype(int))
        for column in (0, 1):
            axes = panels[row, column]
            for d, colour in enumerate(class_colours(len(table.classes))):
                if column == 0:
                    x = [float(n) for n in range(1, table.rows + 1)]
                    y = [levels.index(columns[d]) for columns in values[place]]
                else:
                    x = list(table.rates)
                    y = [levels.index(at[busy - 1][d]) for at in values]
                _stairs(axes, x, y, (d - (len(table.classes) - 1) / 2) * 0.07, colour, table.classes[d])
            axes.set_yticks(named, [none if levels[k] is None else f"{levels[k]:g}" for k in named])
            axes.set_ylim(-0.6, len(levels) - 0.4)
            axes.grid(color="#ececec")
        panels[row, 0].set_ylabel(name)
    panels[0, 0].set_title(f"at {table.rates[place]:.3g} requests/s")
    panels[0, 1].set_title(f"with {busy} requests in the system: the batch is full")
    panels[1, 0].set_xlabel("requests in the system")
    panels[1, 1].set_xlabel("arrival rate, requests/s")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    save(figure, path)


def _stairs(axes: Axes, x: Sequence[float], y: Sequence[int], shift: float, colour: Any, label: str) -> None:
    """Draws levels as steps, each class shifted up a little, so that equal levels stay visible."""
    axes.step(x, np.array(y) + shift, where="mid", color=colour, linewidth=2.6, label=label)
