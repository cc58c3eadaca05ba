"""A profile in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.calibration.summary import certified_range, summary
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


def test_the_summary_names_classes_range_and_plant() -> None:
    told = summary(PROFILE)
    assert "50% of the variance" in told
    assert "risk at most 0.1 at confidence 0.95: thresholds down to 0.80 without a budget" in told
    assert "1.00 ms + (100 us + 100 ns per cached token) per sequence, to 5%; up to 32 sequences" in told
    assert "7.5 token rows, 0.80 ms" in told
