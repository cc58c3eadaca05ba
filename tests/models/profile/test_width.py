"""Races of thoughts as operating points: bounds of the net loss, what is certified, refused and read again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.policies.definition import certified_at
from controller.policies.restricted import with_levers, within_account, within_risk
from models.profile.lever import Lever
from models.profile.profile import ProfileError, checksum, read_profile, write_profile
from models.profile.tables import OperatingPoint
from models.profile.width import FEWEST_RACED, RaceRule, net_bound
from tests.support.analysis_profile import made_profile
from tests.support.width_profile import RULES, WON, racing_profile

FREE = (-0.01, 0.02, 0.04)  # won by RULES: no vote loses anything


def test_the_bound_is_the_formula() -> None:
    losses = np.array([1.0, 0.0, -1.0, 0.0, 0.0] * 40)
    spread = math.sqrt(2.0 * float(losses.var(ddof=1)) * math.log(40.0) / 200)
    assert net_bound(losses, 0.05) == pytest.approx(spread + 14.0 * math.log(40.0) / (3.0 * 199))
    assert net_bound(np.ones(5), 0.05) == 1.0
    with pytest.raises(ValueError, match="between -1 and 1"):
        net_bound([0.0, 1.5], 0.05)
    with pytest.raises(ValueError, match="at least 2"):
        net_bound([0.0], 0.05)


@pytest.mark.parametrize("shares", [(0.03, 0.04), (0.004, 0.0), (0.2, 0.1)])
def test_the_bound_fails_hardly_more_often_than_it_may(shares: tuple[float, float]) -> None:
    lost, won = shares
    rng, truth = np.random.default_rng(0), lost - won
    drawn = rng.choice([1.0, -1.0, 0.0], p=[lost, won, 1.0 - lost - won], size=(2000, 800))
    failed = np.mean([net_bound(one, 0.1) < truth for one in drawn])
    assert failed <= 0.1


def test_races_are_certified_on_what_they_lose_net() -> None:
    found = racing_profile().width
    assert found is not None
    assert [one.mean for one in found.net] == pytest.approx([-won for won in WON])
    assert found.certified == (True, True, True)
    assert found.net[0].harm == pytest.approx(0.01)
    assert found.net[2].bound < 0.0
    assert found.usable() == [0, 1, 2]
    assert found.usable(free=True) == []  # the wide vote costs nothing, but may shrink to one that does
    assert found.at_risk(0.005).certified == (False, True, True)


def test_what_costs_an_account_nothing_costs_nothing_once_it_has_shrunk() -> None:
    found = racing_profile(won=FREE).width
    assert found is not None
    assert [one.bound <= 0.0 for one in found.net] == [False, True, True]
    assert found.usable(free=True) == [1, 2]
    shrinking = replace(
        found, net=tuple(replace(one, bound=bound) for one, bound in zip(found.net, (0.1, 0.01, -0.01), strict=True))
    )
    assert shrinking.at_risk(0.02).usable() == [1, 2]
    assert shrinking.at_risk(0.02).usable(free=True) == []


def test_a_race_is_certified_only_with_its_narrower_ones() -> None:
    found = racing_profile(won=(0.0, -0.08, 0.05)).width
    assert found is not None
    assert found.net[2].bound <= found.epsilon
    assert found.certified == (True, False, False)


@pytest.mark.parametrize(
    ("count", "why"),
    [(3 * FEWEST_RACED - 3, "a class has 99 raced questions"), (330, "330 questions bound no net loss below")],
)
def test_too_few_questions_certify_no_race(count: int, why: str) -> None:
    made = racing_profile(count=count)
    assert made.width is not None
    assert made.width.refused is not None
    assert made.width.refused.startswith(why)
    assert not any(made.width.certified)
    with pytest.raises(ProfileError, match=why):
        with_levers(made, {Lever.WIDTH})


def test_races_stand_behind_the_points_of_thresholds_and_budgets() -> None:
    made = racing_profile()
    plain, used = made.tables(), with_levers(made, {Lever.WIDTH}).tables()
    assert len(used.points) == len(plain.points) + len(RULES)
    assert used.points[: len(plain.points)] == plain.points
    assert [point.race for point in used.points[len(plain.points) :]] == list(RULES)
    assert made.points() == with_levers(made, {Lever.WIDTH}).points()
    gained = used.accuracy[:, len(plain.points) :] - used.accuracy[:, :1]
    assert gained[1:].mean(axis=0) == pytest.approx(WON, abs=0.003)  # the easy class has no room for so much
    assert used.accuracy.max() == 1.0
    assert used.tokens[:, -1] == pytest.approx(5.0 * used.tokens[:, 0])


def test_an_account_of_risk_uses_the_races_that_cost_it_nothing() -> None:
    made = within_account(racing_profile(won=FREE), 0.02, 0.1)
    tables = with_levers(made, {Lever.WIDTH}).tables()
    assert [point.race for point in tables.points if point.race is not None] == [*RULES[1:]]
    assert tables.charges is not None
    assert not tables.charges.of[:, -2:].any()


def test_a_point_s_neighbours_do_not_race() -> None:
    tables = with_levers(racing_profile(), {Lever.WIDTH}).tables()
    last = len(tables.points) - 1
    full = tables.points.index(OperatingPoint(threshold=None, budget=None))
    assert last not in tables.beside(full)
    assert [k for k in tables.beside(last) if tables.points[k].race is not None] == [last]
    assert full in tables.beside(last)


def test_a_profile_without_races_says_so() -> None:
    with pytest.raises(ProfileError, match="laser calibrate --width 5"):
        certified_at(made_profile(), None, None, levers=[Lever.WIDTH])
    with pytest.raises(ProfileError, match=r"certifies no race: the least bound of a net loss is 0\.\d+, must be"):
        with_levers(racing_profile(won=(-0.1, -0.1, -0.1)), {Lever.WIDTH})


def test_an_account_of_risk_without_a_free_race_refuses_the_lever() -> None:
    made = within_account(racing_profile(won=(-0.005, -0.005, -0.005)), 0.02, 0.1)
    with pytest.raises(ProfileError, match=r"must be at most 0, since an account of risk pays for none"):
        with_levers(made, {Lever.WIDTH})
    shrinks = within_account(racing_profile(won=(-0.02, -0.005, 0.04)), 0.02, 0.1)
    with pytest.raises(ProfileError, match=r"the least bound of a net loss is 0\.\d+, must be at most 0"):
        with_levers(shrinks, {Lever.WIDTH})


def test_another_risk_certifies_races_anew() -> None:
    found = within_risk(racing_profile(), 0.015).width
    assert found is not None
    assert found.epsilon == 0.015
    assert found.certified == tuple(one.bound <= 0.015 for one in found.net)


def test_another_risk_tells_anew_whether_the_questions_are_enough() -> None:
    few = racing_profile(count=330)
    assert few.width is not None
    assert few.width.refused is not None
    lax = few.width.at_risk(0.5)
    assert lax.refused is None
    assert lax.certified == tuple(one.bound <= 0.5 for one in lax.net) == (True,) * len(RULES)
    assert lax.at_risk(few.width.epsilon) == few.width
    strict = racing_profile().width
    assert strict is not None
    assert strict.refused is None
    assert (strict.at_risk(0.001).refused or "").startswith("6000 questions bound no net loss below")
    unlike = racing_profile(count=3 * FEWEST_RACED - 3).width
    assert unlike is not None
    assert unlike.at_risk(0.5).refused == unlike.refused


def test_races_come_back_from_a_file_and_are_not_said_where_there_are_none(tmp_path: Path) -> None:
    file, made = tmp_path / "profile.json", racing_profile()
    write_profile(file, made)
    assert read_profile(file).width == made.width
    assert checksum(read_profile(file)) == checksum(made)
    write_profile(file, replace(made, width=None))
    assert '"width"' not in file.read_text()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"width": 1}, "width is 1, must be at least 2"),
        ({"width": 2, "temperature": 0.0}, "temperature is 0.0, must be above 0"),
        ({"width": 2, "asked": -1.0}, "asked is -1.0, must be finite"),
    ],
)
def test_rules_that_cannot_be_are_refused(rule: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RaceRule(**rule)  # type: ignore[arg-type]


def test_only_full_thoughts_race() -> None:
    with pytest.raises(ValueError, match="race is given, must stand alone"):
        OperatingPoint(threshold=0.9, budget=None, race=RULES[0])
    with pytest.raises(ValueError, match="race is given, must stand alone"):
        OperatingPoint(threshold=None, budget=None, skip=0.9, race=RULES[0])
    assert OperatingPoint(threshold=None, budget=None, race=RULES[2]).width == 5
    assert OperatingPoint(threshold=None, budget=None).width == 1
