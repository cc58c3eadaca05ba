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
    wide = widths(tables)
    if not has_races(tables):
        return tables
    slower = np.where(wide > 1, np.nan, 1.0) if plant is None else _slower(wide, plant, max(1, in_system))

    def held(of: Array, factor: Array | float) -> Array:
        return np.asarray(np.where(np.isnan(slower), of[:, :1], of * factor))

    steps = tables.p95_steps
    return replace(
        tables,
        tokens=held(tables.tokens, slower),
        accuracy=held(tables.accuracy, 1.0),
        p95_steps=None if steps is None else held(steps, wide * slower),
    )


class RowsOfRaces:
    """What the levels of a policy map cost and win in each of its rows, for 1, 2, … requests in the system."""

    def __init__(self, tables: OperatingTables, load: Load, plant: Plant, rows: int) -> None:
        self._tokens = (tables.tokens * load.work_ratio[:, None])[None]  # [row, class, point]
        self._accuracy = tables.accuracy[None]  # a single row holds for all where no thoughts race
        self._mix = load.mix
        if has_races(tables):
            wide = widths(tables)
            slower = np.array([_slower(wide, plant, n) for n in range(1, rows + 1)])[:, None]
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


def has_races(tables: OperatingTables) -> bool:
    """Whether thoughts race at any point."""
    return bool((widths(tables) > 1).any())


def spared(tables: OperatingTables, plant: Plant) -> Array:
    """Returns by how much a token row of each point keeps a request less long than it would alone in its steps, s.

    A lone request of W rows takes W/R(1), a lone race of w thoughts W/R(w).
    """
    return np.array([1.0 / plant.rate(1) - 1.0 / plant.rate(point.width) for point in tables.points])


def widths(tables: OperatingTables) -> npt.NDArray[np.intp]:
    """Returns the thoughts of a request at each point."""
    return np.array([point.width for point in tables.points], dtype=np.intp)


def _slower(wide: npt.NDArray[np.intp], plant: Plant, n: int) -> Array:
    """Returns R(n)/R(n·w) by point; NaN where n·w rows are more than a batch. Of one thought it is 1."""
    known = {w: plant.rate(n) / plant.rate(n * w) for w in set(wide.tolist()) if w == 1 or n * w <= plant.max_batch}
    return np.array([known.get(w, np.nan) for w in wide.tolist()])
