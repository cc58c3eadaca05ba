"""The rule of thumb: its threshold falls with the number in the system, among certified thresholds only."""

from __future__ import annotations

import math

import pytest

from controller.policies.load_rule import LoadRule, LoadRuleSettings

CERTIFIED = [0.97, 0.95, 0.9, 0.8]


def test_thresholds_fall_with_the_load_and_come_back() -> None:
    rule = LoadRule(CERTIFIED, LoadRuleSettings())
    seen = []
    for second in range(120):
        rule.tick(float(second), 0 if second < 20 or second >= 60 else 64)
        seen.append(rule.limits("easy").threshold)
    assert seen[19] == 0.97
    assert seen[59] == 0.8
    assert seen[-1] == 0.97
    assert set(seen) <= set(CERTIFIED)
    assert len(set(seen)) == len(CERTIFIED)


@pytest.mark.parametrize("jump", [math.nan, math.inf, -1e9, 1e9])
def test_a_jump_of_the_clock_leaves_it_in_its_range(jump: float) -> None:
    rule = LoadRule(CERTIFIED, LoadRuleSettings())
    for now in (0.0, 1.0, jump, 2.0, 3.0):
        rule.tick(now, 10)
        assert rule.limits(None).threshold in CERTIFIED
        assert 0.0 <= rule.load <= 10.0


def test_it_needs_a_certified_threshold() -> None:
    with pytest.raises(ValueError, match="no certified threshold"):
        LoadRule([], LoadRuleSettings())
