"""The certified range of a profile as the corners of a staircase: a laxer threshold may need a longer budget."""

from __future__ import annotations

from models.profile.profile import Profile
from models.profile.tables import OperatingPoint


def corners(profile: Profile) -> tuple[OperatingPoint, ...]:
    """Returns the certified points that no other certified point covers, longest budget first.

    Certified are the exits within one of the corners: at its threshold or above, and at its budget or more. Empty:
    the full thought alone is certified.
    """
    if profile.refused is not None:
        return ()
    table = profile.certificate.certified
    found = []
    for j, budget in enumerate(profile.budgets):
        lax = sum(row[j] for row in table) - 1  # certified points come first in each column
        laxer_budget = j + 1 < len(profile.budgets) and table[lax][j + 1]
        if lax >= 0 and not laxer_budget and (lax, j) != (0, 0):
            found.append(OperatingPoint(threshold=profile.thresholds[lax], budget=budget))
    return tuple(found)


def certified_range(profile: Profile) -> str:
    """Returns the corners in words."""
    return "; ".join(map(_words, corners(profile))) or "none but the full thought"


def _words(corner: OperatingPoint) -> str:
    threshold = "no early exit" if corner.threshold is None else f"thresholds down to {corner.threshold:.2f}"
    budget = "without a budget" if corner.budget is None else f"with budgets from {corner.budget:,} tokens"
    return f"{threshold} {budget}"
