"""The certified range of a profile as the corners of a staircase: a laxer threshold may need a longer budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

from models.profile.profile import Profile
from models.profile.tables import OperatingPoint

FULL = OperatingPoint(threshold=None, budget=None)


def corners(profile: Profile) -> tuple[OperatingPoint, ...]:
    """Returns the corners of what a profile certifies; empty: the full thought alone is certified."""
    return () if profile.refused is not None else outermost(profile.points())


def outermost(points: Sequence[OperatingPoint]) -> tuple[OperatingPoint, ...]:
    """Returns the certified points that no other of `points` covers, longest budget first, without the full thought.

    Points with a lower curve, a price or a cut-off are left out. Certified are the exits within one of them: at its
    threshold or above, and at its budget or more.
    """
    found: list[OperatingPoint] = []
    plain = [point for point in points if point.give_up is None and point.price is None and point.skip is None]
    for one in sorted(plain, key=lambda point: (_budget(point), _threshold(point))):
        if not found or _threshold(one) < _threshold(found[-1]):
            found.append(one)
    return tuple(one for one in reversed(found) if one != FULL)


def _threshold(point: OperatingPoint) -> float:
    return math.inf if point.threshold is None else point.threshold


def _budget(point: OperatingPoint) -> float:
    return math.inf if point.budget is None else point.budget


def certified_range(profile: Profile) -> str:
    """Returns the corners in words."""
    return told(corners(profile))


def told(found: Sequence[OperatingPoint]) -> str:
    """Returns corners in words."""
    return "; ".join(map(_words, found)) or "none but the full thought"


def within(exit_: OperatingPoint, found: Sequence[OperatingPoint]) -> bool:
    """Whether an exit is the full thought, or lies within one of the corners: as strict and as long, or more so."""
    return exit_ == FULL or any(
        _threshold(exit_) >= _threshold(one) and _budget(exit_) >= _budget(one) for one in found
    )


def _words(corner: OperatingPoint) -> str:
    threshold = "no early exit" if corner.threshold is None else f"thresholds down to {corner.threshold:.2f}"
    budget = "without a budget" if corner.budget is None else f"with budgets from {corner.budget:,} tokens"
    return f"{threshold} {budget}"
