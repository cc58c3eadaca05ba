"""The controller with points at which prompts are answered at once: used under load, within the certificate."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.planning.planner import Planner
from controller.policies.load_aware import BudgetsOnly, LoadAware, ThresholdsOnly
from controller.policies.registry import changed
from controller.policies.restricted import with_levers
from controller.policy import Limits
from controller.selection import limits_at
from models.profile.lever import Lever
from models.profile.levers.no_thought_tables import CUT_OFFS
from models.profile.tables import PointId, prune_hull
from tests.support.analysis_profile import CLASSES
from tests.support.driven_controller import FULL_RATE, AtOnce, Driven
from tests.support.no_thought_profile import no_thought_profile

USED = with_levers(no_thought_profile(harmed=4), {Lever.NO_THOUGHT})
TABLES = USED.tables()
PLANNER = Planner(TABLES, clock=time.perf_counter)


def test_the_ladder_is_in_use_as_far_as_it_is_certified() -> None:
    assert None in {point.skip for point in TABLES.points}
    assert {CUT_OFFS[0]} <= {point.skip for point in TABLES.points} - {None} < {*CUT_OFFS}
    assert all(len(prune_hull(*pair)) <= 24 for pair in zip(TABLES.tokens, TABLES.accuracy, strict=True))


def test_limits_have_the_point_s_cut_off() -> None:
    points = tuple(PointId(k) for k, point in enumerate(TABLES.points) if point.skip == CUT_OFFS[0])[:3]
    assert [limit.skip for limit in limits_at(TABLES, points)] == [CUT_OFFS[0]] * 3


@pytest.mark.parametrize("skip", [math.nan, -1.0, 0.0, 1.0, math.inf])
def test_limits_refuse_a_cut_off_that_no_point_may_have(skip: float) -> None:
    with pytest.raises(ValueError, match=f"skip is {skip}, must lie between 0 and 1"):
        Limits(skip=skip)


def test_under_load_prompts_are_answered_at_once_and_in_calm_they_are_not() -> None:
    driven = Driven(AtOnce(PLANNER), profile=USED)
    driven.run(60.0, rate=0.02 * FULL_RATE, in_system=0)
    assert all(driven.controller.limits(name).skip is None for name in CLASSES)
    driven.run(120.0, rate=2.5 * FULL_RATE, in_system=60)
    assert any(driven.controller.limits(name).skip is not None for name in CLASSES)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 200), st.integers(1, 12)), min_size=1, max_size=6))
def test_no_load_leads_out_of_the_certified_set(loads: list[tuple[float, int, int]]) -> None:
    driven = Driven(AtOnce(PLANNER), profile=USED)
    for share, in_system, seconds in loads:
        driven.run(float(seconds), rate=share * FULL_RATE, in_system=in_system)  # checks at every tick


def test_the_points_handed_out_are_those_that_are_certified() -> None:
    assert USED.no_thought is not None
    certified = np.array(USED.no_thought.certified)
    for point in TABLES.points:
        s = 0 if point.skip is None else 1 + CUT_OFFS.index(point.skip)
        i, j = USED.thresholds.index(point.threshold), USED.budgets.index(point.budget)
        assert certified[s, i, j]


def test_it_is_off_unless_it_is_asked_for() -> None:
    assert not LoadAware().levers
    assert LoadAware(no_thought=True).levers == {Lever.NO_THOUGHT}
    assert LoadAware(no_thought=True, risk=0.02, risk_peak=0.02).levers == {Lever.NO_THOUGHT}  # there is no account


def test_one_lever_s_policies_and_accounts_are_refused() -> None:
    for other in (ThresholdsOnly, BudgetsOnly):
        with pytest.raises(ValueError, match=f"no_thought is True, but policy is {other.kind}, which has none"):
            changed(other(), None, {"no_thought": True})
    with pytest.raises(ValueError, match="no_thought is True, must be False beside risk_peak"):
        LoadAware(no_thought=True, risk=0.02, risk_peak=0.1)
