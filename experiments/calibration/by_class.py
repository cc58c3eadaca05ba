"""What questions cost and gain at every point, as tables by difficulty class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.profile.profile import Table

Values = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


def means_by_class(values: Values, member: Truths) -> Table:
    """Returns the means of `values` [question, threshold, budget] of each class; `member` is [class, question]."""
    return _table(np.stack([_members(values, mine).mean(axis=0) for mine in member]))


def p95_by_class(steps: npt.NDArray[np.int64], member: Truths) -> Table:
    """Returns the 95th percentiles of `steps` [question, threshold, budget] of each class."""
    values = steps.astype(np.float64)
    return _table(np.stack([np.percentile(_members(values, mine), 95, axis=0) for mine in member]))


def _members(values: Values, mine: Truths) -> Values:
    return values[mine] if mine.any() else values  # a class without questions gets the figures of all: its count is 0


def _table(values: Values) -> Table:
    return tuple(tuple(tuple(row) for row in table) for table in values.tolist())
