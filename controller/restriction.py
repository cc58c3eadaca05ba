"""A profile with a part of its certified points taken away: what the load-aware policy would be without that lever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from models.profile import Profile


def thresholds_only(profile: Profile) -> Profile:
    """No budget but none at all."""
    return _restricted(profile, lambda _threshold, budget: budget == 0)


def budgets_only(profile: Profile) -> Profile:
    """No probes."""
    return _restricted(profile, lambda threshold, _budget: threshold == 0)


def _restricted(profile: Profile, kept: Callable[[int, int], bool]) -> Profile:
    """Points are places [threshold, budget]; the full thought is [0, 0]."""
    table = tuple(
        tuple(safe and kept(i, j) for j, safe in enumerate(row)) for i, row in enumerate(profile.certificate.certified)
    )
    return replace(profile, certificate=replace(profile.certificate, certified=table))
