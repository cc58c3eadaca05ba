"""The controller with races: wide where places are idle, alone under load, and alone before thresholds fall."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decision_record import DecisionRecord
from controller.planning.objective import Objective
from controller.planning.planner import Planner
from controller.policies.load_aware import BudgetsOnly, LoadAware, ThresholdsOnly
from controller.policies.registry import changed
from controller.policies.restricted import with_levers, within_account
from controller.policy import Limits
from controller.replay import replay
from controller.selection import limits_at, move
from controller.status import DecisionSource
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
    free = racing_profile(won=(-0.01, 0.02, 0.04))  # no vote loses anything, and the pair is left out
    used = with_levers(within_account(free, 0.02, 0.1), {Lever.WIDTH})
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
        with pytest.raises(ValueError, match=f"width is True, but policy is {one.kind}, which has none"):
            changed(one(), None, {"width": True})


def decided(tmp_path: Path, settings: str, **seen: int) -> tuple[Driven, list[DecisionRecord]]:
    """Three requests in the system, of an engine that grows."""
    file = tmp_path / "controller.yaml"
    file.write_text(settings, encoding="utf-8")
    records: list[DecisionRecord] = []
    driven = Driven(AtOnce(Planner(TABLES, clock=time.perf_counter)), file, USED, sink=records.append)
    if seen:
        driven.controller.held(500, seen["cells"], 3, growing=True)
    driven.run(30.0, rate=0.05 * FULL_RATE, in_system=3)
    return driven, records


def test_memory_leaves_room_for_fewer_races_and_decisions_come_out_the_same_again(tmp_path: Path) -> None:
    wide, roomy = decided(tmp_path, "memory: true\n", cells=100_000)
    narrow, short = decided(tmp_path, "memory: true\n", cells=1500)
    assert {wide.controller.limits(name).width for name in CLASSES} == {5}
    assert narrow.status.decision is not None
    assert narrow.status.decision.batch is not None
    assert narrow.status.decision.batch < 15
    assert all(narrow.controller.limits(name).width * 3 <= narrow.status.decision.batch for name in CLASSES)
    for records in (roomy, short):
        again = [DecisionRecord.from_json(record.to_json(), len(CLASSES)) for record in records]
        assert any(TABLES.points[record.held.points[0]].width > 1 for record in roomy)
        assert replay(USED, again).same


def test_at_one_price_for_any_number_of_requests_no_thoughts_race_and_the_status_says_so(tmp_path: Path) -> None:
    driven, records = decided(tmp_path, "price: joint-program\n")
    assert driven.status.source is DecisionSource.JOINT_PROGRAM
    assert {driven.controller.limits(name).width for name in CLASSES} == {1}
    assert driven.status.problems == ("price is joint-program, the same for any number of requests: no thoughts race",)
    assert not replay(USED, records).changed


def test_races_count_by_their_longer_steps_where_a_class_has_a_time_to_keep(tmp_path: Path) -> None:
    """A step of fifteen rows instead of three takes longer: more than the stricter objective leaves."""
    assert TABLES.p95_steps is not None
    plant = USED.plant_model()
    alone, wide = (
        TABLES.p95_steps[:, k] * plant.step_time.seconds(rows, plant.context) for k, rows in ((0, 3), (WIDE, 15))
    )
    assert (wide > 1.3 * alone).all()
    for seconds, width in ((1.15 * alone, 1), (1.15 * wide, 5)):
        file = tmp_path / "controller.yaml"
        file.write_text(f"objective: {{slo_s: {seconds.round(3).tolist()}}}\n", encoding="utf-8")
        driven = Driven(AtOnce(Planner(TABLES, clock=time.perf_counter)), file, USED)
        for _ in range(20):
            driven.tick(3)
        assert {driven.controller.limits(name).width for name in CLASSES} == {width}
