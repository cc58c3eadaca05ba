"""The controller with races: wide where places are idle, alone under load, and alone before thresholds fall."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.planning.objective import Objective
from controller.planning.planner import Planner
from controller.policies.load_aware import BudgetsOnly, LoadAware, ThresholdsOnly
from controller.policies.restricted import with_levers, within_account
from controller.policy import Limits
from controller.selection import limits_at, move
from models.profile.lever import Lever
from models.profile.tables import OperatingPoint, PointId
from tests.support.analysis_profile import CLASSES
from tests.support.driven_controller import FULL_RATE, AtOnce, Driven
from tests.support.width_profile import RULES, racing_profile

USED = with_levers(racing_profile(), {Lever.WIDTH})
TABLES = USED.tables()
PLANNER = Planner(TABLES, clock=time.perf_counter)
WIDE = PointId(len(TABLES.points) - 1)


def test_thoughts_race_in_calm_and_think_alone_under_load() -> None:
    driven = Driven(AtOnce(PLANNER), profile=USED)
    driven.run(60.0, rate=0.02 * FULL_RATE, in_system=0)
    assert {driven.controller.limits(name).race for name in CLASSES} == {RULES[2]}
    driven.run(120.0, rate=2.5 * FULL_RATE, in_system=60)
    assert {driven.controller.limits(name).width for name in CLASSES} == {1}
    assert any(driven.controller.limits(name).threshold is not None for name in CLASSES)
    driven.run(240.0, rate=0.02 * FULL_RATE, in_system=0)
    assert {driven.controller.limits(name).width for name in CLASSES} == {5}


def test_width_goes_before_thresholds_fall_and_comes_after_they_have_risen() -> None:
    lax = PointId(
        min(
            (k for k, point in enumerate(TABLES.points) if point.threshold is not None and point.budget is None),
            key=lambda k: TABLES.points[k].threshold or 0.0,
        )
    )
    objective, target = Objective(threshold_rate=0.05), (WIDE,) * len(CLASSES)
    held = move(TABLES, objective, target=target, before=None, elapsed_s=0.0)
    seen = []
    for goal in [(lax,) * len(CLASSES)] * 20 + [target] * 20:
        held = move(TABLES, objective, target=goal, before=held, elapsed_s=1.0)
        point = TABLES.points[held.points[0]]
        seen.append((point.width, point.threshold))
    down, up = seen[:20], seen[20:]
    assert down[-1] == (1, TABLES.points[lax].threshold)
    assert all(width == 1 for width, _ in down)
    assert up[-1] == (5, None)
    assert all(width == 1 for width, threshold in up if threshold is not None)
    assert up[0][0] == 1


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 200), st.integers(1, 12)), min_size=1, max_size=6))
def test_no_load_leads_out_of_the_certified_set(loads: list[tuple[float, int, int]]) -> None:
    driven = Driven(AtOnce(PLANNER), profile=USED)
    for share, in_system, seconds in loads:
        driven.run(float(seconds), rate=share * FULL_RATE, in_system=in_system)
        for name in CLASSES:
            limits = driven.controller.limits(name)
            assert OperatingPoint(threshold=limits.threshold, budget=limits.budget, race=limits.race) in TABLES.points


def test_limits_carry_the_race() -> None:
    (limits, *_) = limits_at(TABLES, (WIDE,) * len(CLASSES))
    assert (limits.race, limits.width, limits.threshold, limits.budget) == (RULES[2], 5, None, None)


@pytest.mark.parametrize(
    "beside", [{"threshold": 0.9}, {"agree": 2}, {"margin": 0.5}, {"exits": {"entropy": 0.1}}, {"skip": 0.9}]
)
def test_only_thoughts_that_are_neither_probed_nor_skipped_race(beside: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="race is given beside an exit signal, an index or a cut-off"):
        Limits(race=RULES[0], **beside)
    assert Limits(race=RULES[0], budget=500).width == RULES[0].width  # a client's own budget is no signal


def test_what_a_race_costs_does_not_change_what_a_thought_is_believed_to_take() -> None:
    driven = Driven(AtOnce(PLANNER), profile=USED)
    driven.run(60.0, rate=0.02 * FULL_RATE, in_system=0)
    assert driven.controller.limits(CLASSES[0]).width == 5
    for _ in range(200):
        driven.controller.arrived(CLASSES[0])
        driven.controller.finished(CLASSES[0], round(USED.tokens[0][0][0]))
        driven.tick(1)
    assert driven.status.estimate.work_ratio[0] == pytest.approx(1.0, abs=0.1)


def test_an_account_of_risk_grants_races() -> None:
    used = with_levers(within_account(racing_profile(), 0.02, 0.1), {Lever.WIDTH})
    driven = Driven(AtOnce(Planner(used.tables(), clock=time.perf_counter)), profile=used)
    driven.run(60.0, rate=0.02 * FULL_RATE, in_system=0)
    keeper = driven.controller.keeper
    assert keeper is not None
    grant = keeper.admit(CLASSES[0], "", pays=True)
    assert keeper.within(grant, driven.controller.limits(CLASSES[0]), 0).width == 5


def test_the_lever_is_off_unless_it_is_asked_for() -> None:
    assert LoadAware().levers == frozenset()
    assert LoadAware(width=True).levers == {Lever.WIDTH}
    for one in (ThresholdsOnly, BudgetsOnly):
        with pytest.raises(ValueError, match="width is True, must be False"):
            one(width=True)
