"""The lower threshold of an operating point: a curve, rising with the thought, below which the thought is hopeless.

A thought whose trial confidence lies below the curve is closed at once with the best trial answer that it has had
(after Conformal Thinking, 2602.03814, whose curve is a sigmoid of tokens). Of a thought of t tokens, in a class whose
median full thought has m, the curve is

    height · (1 − exp(−(t/m − 1/3) / rise))     from t = m/3 on, and 0 before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.files.checks import positive

GRACE = 1.0 / 3.0  # of the median thought; before it no thought is given up


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUpCurve:
    """A curve in medians of a class's full thoughts, the same for all classes."""

    height: float  # confidence that the curve rises to
    rise: float  # medians in which it comes to 63 % of its height

    def __post_init__(self) -> None:
        positive(self, "rise")
        if not 0.0 < self.height < 1.0:
            raise ValueError(f"height is {self.height}, must be above 0 and below 1")

    def at(self, medians: float) -> float:
        """Returns the confidence below which a thought of this length, in medians, is hopeless."""
        return self.height * -math.expm1(-max(0.0, medians - GRACE) / self.rise)

    def covers(self, other: GiveUpCurve) -> bool:
        """Whether the curve is nowhere below the other one, by its two parameters."""
        return self.height >= other.height and self.rise <= other.rise


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUpLimit:
    """A curve in the tokens of one class's thoughts."""

    curve: GiveUpCurve
    median: float  # tokens of the class's median full thought

    def __post_init__(self) -> None:
        positive(self, "median")

    def at(self, tokens: int) -> float:
        """Returns the confidence below which a thought of `tokens` tokens is hopeless."""
        return self.curve.at(tokens / self.median)


def worth_below(threshold: float, low: float, best: float | None) -> float:
    """Returns the confidence below which a probe may give up, since it then changes nothing.

    A probe matters if it may reach the threshold or be the best trial so far (`best`: the surest before; None: there is
    none), and where a curve is above 0, `low`, if it may lie below or above it.
    """
    if best is None:
        return 0.0
    return min(threshold, best, low) if low > 0.0 else min(threshold, best)


LADDER = (
    GiveUpCurve(height=0.1, rise=2.0),
    GiveUpCurve(height=0.2, rise=2.0),
    GiveUpCurve(height=0.3, rise=2.0),
    GiveUpCurve(height=0.4, rise=1.0),
    GiveUpCurve(height=0.6, rise=1.0),
)
"""The curves that calibration tabulates, lowest first: each covers those before it."""


def check_ladder(curves: Sequence[GiveUpCurve]) -> None:
    """Raises ValueError if the curves do not rise: each must cover the one before it, and differ from it."""
    for lower, higher in pairwise(curves):
        if lower == higher or not higher.covers(lower):
            raise ValueError(f"curves has {higher} after {lower}, must rise: no curve below the one before it")
