"""Lower curves, and the points of a profile that have one: what is certified, refused and read again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policies.restricted import with_levers, within_risk
from models.profile.certificate import fewest_questions, upper_bound
from models.profile.corners import corners
from models.profile.give_up import GRACE, LADDER, GiveUpCurve, GiveUpLimit, check_ladder, worth_below
from models.profile.lever import Lever
from models.profile.levers.ladder import certify_levels, short_of
from models.profile.profile import ProfileError, read_profile, write_profile
from models.profile.tables import OperatingPoint
from tests.support.analysis_profile import made_profile
from tests.support.give_up_profile import COUNT, MEDIANS, giving_up_profile

CURVES = st.builds(GiveUpCurve, height=st.floats(0.01, 0.99), rise=st.floats(0.01, 10.0))


@given(CURVES, st.floats(1.0, 5000.0))
def test_a_curve_begins_after_a_third_of_the_median_and_rises_below_its_height(
    curve: GiveUpCurve, median: float
) -> None:
    limit = GiveUpLimit(curve=curve, median=median)
    levels = [limit.at(tokens) for tokens in range(0, math.ceil(8 * median), max(1, round(median / 40)))]
    assert all(limit.at(tokens) == 0.0 for tokens in range(math.floor(GRACE * median) + 1)[-50:])
    assert levels == sorted(levels)
    assert levels[-1] <= curve.height


def test_a_curve_is_the_formula() -> None:
    limit = GiveUpLimit(curve=GiveUpCurve(height=0.4, rise=2.0), median=300.0)
    assert limit.at(100) == 0.0
    assert limit.at(700) == pytest.approx(0.4 * (1.0 - math.exp(-1.0)))


@given(CURVES, CURVES, st.floats(0.0, 20.0))
def test_a_curve_that_covers_another_is_nowhere_below_it(one: GiveUpCurve, other: GiveUpCurve, medians: float) -> None:
    if one.covers(other):
        assert one.at(medians) >= other.at(medians)


def test_a_ladder_rises() -> None:
    check_ladder(LADDER)
    with pytest.raises(ValueError, match=r"must rise"):
        check_ladder(LADDER[::-1])
    with pytest.raises(ValueError, match=r"must rise"):
        check_ladder((LADDER[0], LADDER[0]))


@pytest.mark.parametrize(("height", "rise"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.0), (0.5, math.nan)])
def test_a_senseless_curve_is_refused(height: float, rise: float) -> None:
    with pytest.raises(ValueError, match=r"is .*, must be"):
        GiveUpCurve(height=height, rise=rise)


def test_a_probe_may_end_early_only_where_it_changes_nothing() -> None:
    assert worth_below(0.9, 0.0, None) == 0.0  # it is the only trial
    assert worth_below(0.9, 0.0, 0.4) == 0.4  # it cannot be the best, and below the curve is nothing
    assert worth_below(0.9, 0.3, 0.4) == 0.3  # it may lie above or below the curve
    assert worth_below(0.2, 0.3, 0.4) == 0.2


def test_only_what_is_probed_can_be_given_up() -> None:
    with pytest.raises(ValueError, match="threshold is None, must be given beside give_up"):
        OperatingPoint(threshold=None, budget=None, give_up=LADDER[0])


# --- the profile


def test_points_with_a_curve_are_in_use_only_where_a_policy_wants_them() -> None:
    plain = giving_up_profile()
    assert plain.points() == made_profile(certified_to=5).points()
    assert all(point.give_up is None for point in plain.points())
    used = with_levers(plain, {Lever.GIVE_UP})
    assert {point.give_up for point in used.points()} == {None, *LADDER}
    assert used.points()[0] == OperatingPoint(threshold=None, budget=None)
    tables = used.tables()
    assert tables.medians == MEDIANS
    assert used.give_up is not None
    for k, point in enumerate(tables.points):
        i, j = used.thresholds.index(point.threshold), used.budgets.index(point.budget)
        source = used.tokens if point.give_up is None else used.give_up.tokens[LADDER.index(point.give_up)]
        assert tables.tokens[:, k].tolist() == [source[d][i][j] for d in range(3)]


def test_the_range_that_requests_may_ask_for_has_no_curve() -> None:
    assert corners(with_levers(giving_up_profile(), {Lever.GIVE_UP})) == corners(giving_up_profile())


def test_a_profile_with_curves_comes_back_from_its_file_and_does_not_say_who_uses_them(tmp_path: Path) -> None:
    made = with_levers(giving_up_profile(harmed=3), {Lever.GIVE_UP})
    write_profile(tmp_path / "profile.json", made)
    assert read_profile(tmp_path / "profile.json") == replace(made, levers=frozenset())


def test_a_profile_that_has_no_curves_or_certifies_none_is_refused() -> None:
    with pytest.raises(ProfileError, match="give_up is True, but the profile has no points"):
        with_levers(made_profile(), {Lever.GIVE_UP})
    with pytest.raises(ProfileError, match="certifies no giving up: 7 hard questions certify nothing"):
        with_levers(giving_up_profile(unplaced="7 hard questions certify nothing"), {Lever.GIVE_UP})
    with pytest.raises(ValueError, match="levers has give-up, must not"):
        replace(made_profile(), levers=frozenset({Lever.GIVE_UP}))


def test_curves_are_certified_from_the_lowest_to_the_first_that_fails() -> None:
    found = giving_up_profile(harmed=6).give_up
    assert found is not None
    certified, bounds = np.array(found.certified), np.array(found.bounds)
    lowest = certified[:, 1, 0]
    assert lowest.tolist() == sorted(lowest.tolist(), reverse=True)
    assert 1 < lowest.sum() < len(lowest)
    share = 0.05 / (6 * 5)  # δ, by curves and none, and budgets
    assert bounds[2, 1, 0] == upper_bound(12, COUNT, share)
    assert (bounds[certified] <= 0.05).all()


def test_with_too_few_questions_no_curve_is_certified_at_a_smaller_risk() -> None:
    columns = 6 * 5
    needed = fewest_questions(0.01, 0.05, columns)
    assert needed > COUNT
    tight = within_risk(giving_up_profile(), 0.01)
    assert tight.points() != ()
    with pytest.raises(ProfileError, match=f"{COUNT} questions certify, must be at least {needed}"):
        with_levers(tight, {Lever.GIVE_UP})
    assert short_of(columns, 0.01, 0.05, needed, "curves") is None


@given(st.lists(st.integers(0, 40), min_size=24, max_size=24))
def test_all_corners_within_a_certified_corner_are_certified(counts: list[int]) -> None:
    _, certified = certify_levels(np.array(counts).reshape(3, 4, 2), 400, 0.05, 0.1)
    for c, i, j in zip(*np.nonzero(certified), strict=True):
        assert certified[: c + 1, : i + 1, : j + 1].all()


def test_a_certificate_of_curves_is_wrong_no_more_often_than_delta() -> None:
    """Nested risks that creep over ε along all three axes."""
    epsilon, delta, count, trials = 0.05, 0.1, 400, 1_000
    rng = np.random.default_rng(4)
    steps = np.arange(3)[:, None, None] + np.arange(4)[None, :, None] + np.arange(2)[None, None, :]
    risk = epsilon * 1.002 + 0.01 * (steps - 3) / 3
    risk[0, 0, 0] = 0.0
    wrong = 0
    for _ in range(trials):
        harmed = (rng.random(count)[:, None, None, None] < risk).sum(axis=0)
        _, certified = certify_levels(harmed, count, epsilon, delta)
        wrong += bool((certified & (risk > epsilon)).any())
    assert wrong / trials <= delta + 3 * math.sqrt(delta * (1 - delta) / trials)
