"""The certified range of a profile, told by its corners."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.profile.corners import certified_range, corners
from models.profile.profile import FILE_NAME, read_profile
from models.reasoner import bundled_model
from tests.support.model_profile import PROFILE


@pytest.mark.parametrize(
    ("certified", "told"),
    [
        (((True, False), (False, False), (False, False)), "none but the full thought"),
        (((True, True), (False, False), (False, False)), "no early exit with budgets from 120 tokens"),
        (((True, False), (True, False), (False, False)), "thresholds down to 0.95 without a budget"),
        (((True, True), (True, True), (True, True)), "thresholds down to 0.80 with budgets from 120 tokens"),
        (
            ((True, True), (True, True), (True, False)),
            "thresholds down to 0.80 without a budget; thresholds down to 0.95 with budgets from 120 tokens",
        ),
    ],
)
def test_the_certified_range_is_told_by_its_corners(certified: tuple[tuple[bool, ...], ...], told: str) -> None:
    assert certified_range(replace(PROFILE, certificate=replace(PROFILE.certificate, certified=certified))) == told


def test_the_corners_cover_the_certified_points_of_the_bundled_profile_and_no_others() -> None:
    profile = read_profile(bundled_model() / FILE_NAME)
    found = corners(profile)
    assert len(found) > 1  # no single threshold and budget tells it

    def within(threshold: float | None, budget: int | None) -> bool:
        return any(
            (one.threshold or 2.0) <= (threshold or 2.0) and (one.budget or 1e9) <= (budget or 1e9) for one in found
        )

    certified = set(profile.points())
    for point in profile.points(certified_only=False):
        assert within(point.threshold, point.budget) == (point in certified)
