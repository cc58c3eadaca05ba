"""Which exits are safe: those whose risk is at most ε with confidence 1 − δ, by an exact test on calibration data.

The risk of a corner (threshold, budget) is P(the full thought is right, and some exit within the corner is wrong),
where the exits within it are all those at that threshold or a stricter one, and at that budget or a longer one. So a
controller that stays within a certified corner may choose exits by load, class and request, and may change its choice
while a thought runs: the risk stays certified. This holds for questions distributed like those of the calibration.

Learn-then-Test (Angelopoulos et al., 2021): in each column of budgets the thresholds are tested from strict to lax and
the first failure ends the column (fixed-sequence testing, which needs no correction); columns share δ (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What is certified. Tables are [threshold, budget], strictest first on both axes; [0][0] is the full thought."""

    epsilon: float
    delta: float
    count: int  # calibration questions
    harmed: tuple[tuple[int, ...], ...]  # questions with the full thought right and some exit within the corner wrong
    bounds: tuple[tuple[float, ...], ...]  # upper bounds of the risk: Clopper-Pearson at the column's share of δ
    certified: tuple[tuple[bool, ...], ...]


def certify(harmed: Sequence[Sequence[int]] | Counts, count: int, *, epsilon: float, delta: float) -> Certificate:
    """Test all corners of a table [threshold, budget], strictest first on both axes.

    If a corner is certified, so are all corners within it. Raises ValueError if `count` is below `fewest_questions`:
    then not even a corner without a single harmed question could be certified.
    """
    table = np.asarray(harmed, dtype=np.int64)
    columns = table.shape[1]
    needed = fewest_questions(epsilon, delta, columns)
    if count < needed:
        raise ValueError(
            f"{count} questions to certify a risk of at most {epsilon:g} at confidence {1.0 - delta:g} for {columns} "
            f"budgets, must be at least {needed}"
        )
    bounds = np.array([[upper_bound(int(k), count, delta / columns) for k in row] for row in table])
    bounds[0, 0] = 0.0  # the full thought is compared with itself
    passed = np.logical_and.accumulate(bounds <= epsilon, axis=0)  # fixed sequence: the first failure ends a column
    certified = np.logical_and.accumulate(passed, axis=1)  # all corners within a corner must have passed too
    return Certificate(
        epsilon=epsilon,
        delta=delta,
        count=count,
        harmed=tuple(tuple(row) for row in table.tolist()),
        bounds=tuple(tuple(row) for row in bounds.tolist()),
        certified=tuple(tuple(row) for row in certified.tolist()),
    )


def fewest_questions(epsilon: float, delta: float, columns: int) -> int:
    """The smallest n that can certify anything: (1 − ε)ⁿ ≤ δ / columns, with no question harmed."""
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} is {value}, must be above 0 and below 1")
    if columns < 1:
        raise ValueError(f"columns is {columns}, must be at least 1")
    return math.ceil(math.log(delta / columns) / math.log1p(-epsilon) - 1e-9)


def upper_bound(harmed: int, count: int, delta: float) -> float:
    """The Clopper-Pearson upper bound: the risk p with P(Bin(count, p) ≤ harmed) = δ; 1 if all are harmed."""
    from scipy.special import betainccinv

    if not 0 <= harmed <= count or count < 1:
        raise ValueError(f"{harmed} of {count} are harmed, must be between 0 and the count, which must be at least 1")
    if harmed == count:
        return 1.0
    return float(betainccinv(harmed + 1, count - harmed, delta))  # the beta distribution's upper quantile at δ
