"""What is certified of levels that stand before threshold and budget: a ladder, strictest first, of which 0 is none.

A corner is a level, a threshold and a budget. Its exits are those of all stricter levels, thresholds and budgets, so
the counts of harmed questions rise along all three axes. In each column, one for each level and budget, thresholds are
tested from strict to lax and the first failure ends the column; columns share δ (Bonferroni).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from models.profile.certificate import fewest_questions, upper_bound

Counts: TypeAlias = npt.NDArray[np.int64]
LevelTable: TypeAlias = tuple[tuple[tuple[tuple[float, ...], ...], ...], ...]  # [level, class, threshold, budget]


def short_of(columns: int, epsilon: float, delta: float, count: int, levels: str) -> str | None:
    """Returns why `count` questions are too few to certify any of these columns; None: they are enough."""
    needed = fewest_questions(epsilon, delta, columns)
    if count >= needed:
        return None
    return (
        f"{count} questions certify, must be at least {needed} for a risk of {epsilon:g} at confidence {1 - delta:g} "
        f"in {columns} columns of {levels} and budgets"
    )


def certify_levels(
    harmed: Counts, count: int, epsilon: float, delta: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Returns upper bounds and what is certified, [none and levels, threshold, budget], strictest first on all axes.

    In each column the first threshold that fails ends the column; a corner is certified if all corners within it are.
    """
    levels, _, budgets = harmed.shape
    share = delta / (levels * budgets)
    known = {int(k): upper_bound(int(k), count, share) for k in np.unique(harmed)}
    bounds = np.vectorize(known.__getitem__, otypes=[np.float64])(harmed)
    bounds[0, 0, 0] = 0.0  # the full thought is compared with itself
    certified = bounds <= epsilon
    for axis in (1, 2, 0):
        certified = np.logical_and.accumulate(certified, axis=axis)
    return bounds, certified


def nested(values: npt.NDArray[Any]) -> tuple[tuple[tuple[Any, ...], ...], ...]:
    """Returns a table of three axes as tuples."""
    return tuple(tuple(tuple(row) for row in level) for level in values.tolist())
