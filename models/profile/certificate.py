"""Which exits are safe: those whose risk is at most ε with confidence 1 − δ, by an exact test on calibration data.

The risk of a corner (threshold, budget) is P(the full thought is right, and some exit within the corner is wrong),
where the exits within it are all those at that threshold or a stricter one, and at that budget or a longer one. So a
controller that stays within a certified corner may choose exits by load, class and request, and may change its choice
while a thought runs: the risk stays certified. This holds for questions distributed like those of the calibration.

Learn-then-Test (Angelopoulos et al., 2021): in each column of budgets the thresholds are tested from strict to lax and
the first failure ends the column (fixed-sequence testing, which needs no correction); columns share δ (Bonferroni).

Where the full thought is hardly ever right, the risk is small whatever the exits answer; where it hardly ever ends, it
is compared with a thought that was cut. Such a certificate is refused: it allows the full thought alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Bounds = tuple[tuple[float, ...], ...]  # [threshold, budget]

RIGHT_FLOOR = 0.05  # of full thoughts; below, a loss of most right answers is within any risk worth the name
ENDED_FLOOR = 0.5  # of full thoughts; below, what exits are compared with is mostly no full thought


@dataclass(frozen=True, slots=True, kw_only=True)
class ByClass:
    """The certificate's questions by difficulty class, for an account of risk."""

    counts: tuple[int, ...]  # questions of each class
    harmed: tuple[tuple[tuple[int, ...], ...], ...]  # [class, threshold, budget], as the certificate's
    ages: tuple[int, ...]  # tokens of a running thought, rising
    alive: tuple[tuple[tuple[int, ...], ...], ...]  # [class, threshold, age]: thoughts that run then, without a budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What else the calibration questions show of full thoughts and exits."""

    right: int  # questions with the full thought right
    ended: int  # questions with a full thought that the model ended itself
    # questions with some exit within the corner that answers otherwise; None: not recorded
    differing: tuple[tuple[int, ...], ...] | None
    # upper bounds of that share, of all corners at once, so that they hold for corners that the
    # same questions selected; None, as `differing`: answers are not recorded
    differing_bounds: Bounds | None
    by_class: ByClass | None = None  # the same by class; None: calibrated before it was kept


def evidence(
    right: int,
    ended: int,
    differing: Sequence[Sequence[int]] | Counts | None,
    count: int,
    delta: float,
    by_class: ByClass | None = None,
) -> Evidence:
    """Returns the evidence of `count` questions, with upper bounds that share `delta` over all corners (Bonferroni)."""
    if differing is None:
        return Evidence(right=right, ended=ended, differing=None, differing_bounds=None, by_class=by_class)
    table = np.asarray(differing, dtype=np.int64)
    bounds = _bounds(table, count, delta / len(table))  # no order of tests as the thresholds of the risk have it
    return Evidence(
        right=right,
        ended=ended,
        differing=tuple(tuple(row) for row in table.tolist()),
        differing_bounds=tuple(tuple(row) for row in bounds.tolist()),
        by_class=by_class,
    )


def refusal(right: float, ended: float, epsilon: float) -> str | None:
    """Returns why a certificate would be one of nothing, by shares of full thoughts; None: it would not."""
    if right < RIGHT_FLOOR or right <= epsilon:
        # exits that are always wrong have the risk P(the full thought is right): at or below ε, anything is certified
        return (
            f"the full thought is right for {right:.1%} of the questions, must be for at least {RIGHT_FLOOR:.0%} and "
            f"more than the risk of {epsilon:g}: exits that are always wrong would be certified, too"
        )
    if ended < ENDED_FLOOR:
        return (
            f"{ended:.1%} of the full thoughts end by themselves, at least {ENDED_FLOOR:.0%} must: exits would be "
            "compared with thoughts that the length limit cut"
        )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What is certified. Tables are [threshold, budget], strictest first on both axes; [0][0] is the full thought."""

    epsilon: float  # certified risk ε
    delta: float  # chance δ that the certificate is wrong
    count: int  # calibration questions
    harmed: tuple[tuple[int, ...], ...]  # questions with the full thought right and some exit within the corner wrong
    bounds: tuple[tuple[float, ...], ...]  # upper bounds of the risk: Clopper-Pearson at the column's share of δ
    certified: tuple[tuple[bool, ...], ...]  # whether the corner's risk is at most ε with confidence 1 − δ
    evidence: Evidence | None = None  # what else was seen; None: calibrated before it was kept
    # risk that an account keeps on average, where ε bounds the risk of any one request; None: there is no account
    mean: float | None = None

    @property
    def refused(self) -> str | None:
        """Why only the full thought is certified, whatever the bounds; None: the bounds decide."""
        if self.evidence is None:
            return None
        return refusal(self.evidence.right / self.count, self.evidence.ended / self.count, self.epsilon)

    @property
    def differing(self) -> float | None:
        """Upper bound of the share of questions with a certified exit that answers otherwise; None: not recorded."""
        if self.evidence is None or self.evidence.differing_bounds is None:
            return None
        return float(np.max(np.array(self.evidence.differing_bounds)[np.array(self.certified)]))


def certify(
    harmed: Sequence[Sequence[int]] | Counts,
    count: int,
    *,
    epsilon: float,
    delta: float,
    evidence: Evidence | None = None,
) -> Certificate:
    """Test all corners of a table [threshold, budget], strictest first on both axes.

    If a corner is certified, so are all corners within it. If the `evidence` shows that the certificate would be one of
    nothing, only the full thought is certified. Raises ValueError if `count` is below `fewest_questions`:
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
    bounds = _bounds(table, count, delta)
    passed = np.logical_and.accumulate(bounds <= epsilon, axis=0)  # fixed sequence: the first failure ends a column
    certified = np.logical_and.accumulate(passed, axis=1)  # all corners within a corner must have passed too
    found = Certificate(
        epsilon=epsilon,
        delta=delta,
        count=count,
        harmed=tuple(tuple(row) for row in table.tolist()),
        bounds=tuple(tuple(row) for row in bounds.tolist()),
        certified=tuple(tuple(row) for row in certified.tolist()),
        evidence=evidence,
    )
    if found.refused is None:
        return found
    only = np.zeros_like(certified)
    only[0, 0] = True  # the full thought
    return replace(found, certified=tuple(tuple(row) for row in only.tolist()))


def _bounds(table: Counts, count: int, delta: float) -> npt.NDArray[np.float64]:
    columns = table.shape[1]
    bounds = np.array([[upper_bound(int(k), count, delta / columns) for k in row] for row in table])
    bounds[0, 0] = 0.0  # the full thought is compared with itself
    return bounds


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
