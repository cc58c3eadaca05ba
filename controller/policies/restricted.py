"""A profile with other certified points: without one of the load-aware policy's levers, or within another risk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from models.profile.certificate import certify
from models.profile.profile import Profile, ProfileError


def thresholds_only(profile: Profile) -> Profile:
    """No budget but none at all."""
    return _restricted(profile, lambda _threshold, budget: budget == 0)


def budgets_only(profile: Profile) -> Profile:
    """No probes."""
    return _restricted(profile, lambda threshold, _budget: threshold == 0)


def within_risk(profile: Profile, risk: float) -> Profile:
    """The points that are certified at a risk of `risk` instead of the calibration's, at the same confidence.

    The certificate holds for a risk that was chosen before its outcome was looked at. Raises ProfileError where the
    profile has too few questions to certify anything so strict.
    """
    given = profile.certificate
    try:
        return replace(profile, certificate=certify(given.harmed, given.count, epsilon=risk, delta=given.delta))
    except ValueError as error:
        raise ProfileError(f"risk is {risk:g}, for which the profile is too small: {error}") from error


def _restricted(profile: Profile, kept: Callable[[int, int], bool]) -> Profile:
    """Points are places [threshold, budget]; the full thought is [0, 0]."""
    table = tuple(
        tuple(safe and kept(i, j) for j, safe in enumerate(row)) for i, row in enumerate(profile.certificate.certified)
    )
    return replace(profile, certificate=replace(profile.certificate, certified=table))
