"""The contest of policies in a profile: which policy it says serves, and how a file keeps it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from controller.policies.restricted import thresholds_only, within_risk
from models.profile.contest import constant_words
from models.profile.profile import checksum, read_profile, write_profile
from tests.support.contests import contest
from tests.support.model_profile import PROFILE


@pytest.mark.parametrize(
    ("gains", "loads"),
    [
        ((0.0, 0.0, 0.0), []),
        ((0.02, -0.009, 0.0), []),  # the interval holds 0: not shown
        ((0.02, -0.011, 0.0), [0.9]),
        ((-0.02, 0.5, -0.02), [0.5, 1.2]),  # gains elsewhere do not make up for it
    ],
)
def test_load_aware_is_worse_where_the_whole_interval_is_below_0(gains: tuple[float, ...], loads: list[float]) -> None:
    found = contest(*gains)
    assert [one.load for one in found.worse] == loads
    assert found.verdict.startswith("the safe constant" if loads else "load-aware")


def test_the_verdict_names_constant_and_loads() -> None:
    assert contest(0.0, -1.0, -1.0, budget=300).verdict == (
        "the safe constant, threshold 0.95 with budget 300: simulated at 90%, 120% of capacity, load-aware is shown to "
        "be worse"
    )
    assert contest(0.0, 0.0, 0.0).verdict == (
        "load-aware: simulated at 50%, 90%, 120% of capacity, it is not shown to be worse than the safe constant, "
        "threshold 0.95"
    )
    same = contest(0.0, 0.0, 0.0)
    same = replace(same, loads=tuple(replace(one, low=0.0, high=0.0) for one in same.loads))
    assert same.verdict == (
        "load-aware: simulated at 50%, 90%, 120% of capacity, it does the same as the safe constant, threshold 0.95"
    )
    assert constant_words(None, 90) == "budget 90"
    assert constant_words(None, None) == "full thoughts"


def test_a_gain_that_is_no_number_is_refused_since_it_would_show_nothing() -> None:
    with pytest.raises(ValueError, match="gain is nan, must lie within its interval"):
        contest(0.0, math.nan)


def test_a_contest_is_read_as_it_was_written(tmp_path: Path) -> None:
    profile = replace(PROFILE, contest=contest(0.1, 0.0, -0.1))
    write_profile(tmp_path / "profile.json", profile)
    assert read_profile(tmp_path / "profile.json") == profile


def test_a_profile_without_a_contest_has_no_such_key(tmp_path: Path) -> None:
    write_profile(tmp_path / "profile.json", PROFILE)
    said = json.loads((tmp_path / "profile.json").read_text())
    assert "contest" not in said["profile"]
    assert checksum(read_profile(tmp_path / "profile.json")) == said["sha256"]


def test_other_certified_points_have_no_contest_yet() -> None:
    profile = replace(PROFILE, contest=contest(0.1))
    assert within_risk(profile, 0.2).contest is None
    assert thresholds_only(profile).contest is None
