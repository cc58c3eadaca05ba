"""What races cost, as they are planned: rivals fill places that are idle, so a race is priced by its time.

A race of w thoughts decodes w rows a step. If all n requests race, a step has n·w rows, and W tokens of a race take the
time in which W·R(n)/R(n·w) would be decoded without races. Where n·w rows are more than a batch, there is no race: the
request thinks alone, to the end.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from controller.load import Load
from models.profile.plant import Plant
from models.profile.tables import OperatingTables

Array = npt.NDArray[np.float64]


def racing(tables: OperatingTables, plant: Plant | None, in_system: int) -> OperatingTables:
    """Returns the tables as they hold for a request beside others, `in_system` with it.

    Steps are counted in steps of one thought each. Where there is no race, its point is the full thought's. `plant`
    None: nothing is known of the places, so nobody races.
    """
    widths = _widths(tables)
    if not (widths > 1).any():
        return tables
    slower = np.where(widths > 1, np.nan, 1.0) if plant is None else _slower(widths, plant, max(1, in_system))

    def held(of: Array, factor: Array | float) -> Array:
        return np.asarray(np.where(np.isnan(slower), of[:, :1], of * factor))

    steps = tables.p95_steps
    return replace(
        tables,
        tokens=held(tables.tokens, slower),
        accuracy=held(tables.accuracy, 1.0),
        p95_steps=None if steps is None else held(steps, widths * slower),
    )


class RowsOfRaces:
    """What the levels of a policy map cost and win in each of its rows, for 1, 2, … requests in the system."""

    def __init__(self, tables: OperatingTables, load: Load, plant: Plant, rows: int) -> None:
        self._tokens = (tables.tokens * load.work_ratio[:, None])[None]  # [row, class, point]
        self._accuracy = tables.accuracy[None]  # a single row holds for all where no thoughts race
        self._mix = load.mix
        widths = _widths(tables)
        if (widths > 1).any():
            slower = np.array([_slower(widths, plant, n) for n in range(1, rows + 1)])[:, None]
            self._tokens, self._accuracy = (
                np.where(np.isnan(slower), of[:, :, :1], of * factor)
                for of, factor in ((self._tokens, slower), (self._accuracy, 1.0))
            )

    def of(self, points: npt.NDArray[np.intp]) -> tuple[Array, Array]:
        """Returns tokens and accuracy of a mean request, [row, level]; `points` is [level, class].

        A single row holds for all where no thoughts race.
        """
        classes = np.arange(points.shape[1])
        tokens, accuracy = (each[:, classes, points] @ self._mix for each in (self._tokens, self._accuracy))
        return tokens, accuracy


def rivals(tables: OperatingTables) -> Array:
    """Returns what share of each point's token rows is of thoughts behind the first."""
    return np.asarray(1.0 - 1.0 / _widths(tables))


def _widths(tables: OperatingTables) -> npt.NDArray[np.intp]:
    return np.array([point.width for point in tables.points], dtype=np.intp)


def _slower(widths: npt.NDArray[np.intp], plant: Plant, n: int) -> Array:
    """Returns R(n)/R(n·w) by point; NaN where n·w rows are more than a batch. Of one thought it is 1."""
    known = {w: plant.rate(n) / plant.rate(n * w) for w in set(widths.tolist()) if w == 1 or n * w <= plant.max_batch}
    return np.array([known.get(w, np.nan) for w in widths.tolist()])
