"""An analysis against direct definitions: everything that it tells is found again by another way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from controller.planning.joint_program import Optimizer
from controller.planning.objective import Objective
from controller.planning.policy_map import PolicyMapper
from experiments.analysis import maps, sweep
from experiments.analysis.capacity import capacity, largest_rate, sheds_from
from experiments.analysis.checks import against_simulation, brute_force, gaps, tangents
from experiments.analysis.fronts import fronts
from experiments.analysis.misspecification import misspecification
from experiments.analysis.situation import Situation, situation
from tests.support.analysis_profile import PLAIN, made_profile, still

DEAR_WAITING = replace(PLAIN, shed_penalty=0.0, latency_weight=0.05)
CHEAP_SHEDDING = replace(PLAIN, shed_penalty=0.1)


def nothing() -> None:
    pass


def bisect(low: float, high: float, holds: Callable[[float], bool]) -> float:
    """Where `holds` ends."""
    while high - low > 1e-4 * high:
        middle = (low + high) / 2.0
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


# Fronts


def test_no_setting_beats_a_front(one: Situation) -> None:
    """All 35 points of each of the three classes."""
    front = fronts(one).joint
    tokens, accuracy = np.zeros(1), np.zeros(1)
    for d, share in enumerate(one.mix):
        tokens = np.add.outer(tokens, share * one.tables.tokens[d]).ravel()
        accuracy = np.add.outer(accuracy, share * one.tables.accuracy[d]).ravel()
    best = np.interp(tokens, front.tokens, front.accuracy)
    assert np.all(accuracy <= best + 1e-12)
    assert tokens.min() == pytest.approx(front.tokens[0])
    for place, setting in enumerate(front.settings):  # each of them really is such a setting
        columns = [one.tables.points.index(point) for point in setting]
        classes = np.arange(3)
        assert one.mix @ one.tables.tokens[classes, columns] == pytest.approx(front.tokens[place])
        assert one.mix @ one.tables.accuracy[classes, columns] == pytest.approx(front.accuracy[place])


def test_more_freedom_never_costs_accuracy(one: Situation) -> None:
    found = fronts(one)
    for narrow in (found.constant, found.threshold):
        assert list(narrow.tokens) == sorted(narrow.tokens)
        assert list(narrow.accuracy) == sorted(narrow.accuracy)
        for tokens, accuracy in zip(narrow.tokens, narrow.accuracy, strict=True):
            best = found.joint.accuracy_at(tokens)
            assert best is not None
            assert best >= accuracy - 1e-12


def test_the_optimiser_decides_on_the_front(one: Situation, program: Optimizer) -> None:
    front = fronts(one).joint
    for rate in (2.0, 8.0, 11.0, 14.0):
        decision = program.solve(one.load(rate), one.plant)
        best = front.accuracy_at(decision.demand / rate)
        assert best == pytest.approx(float(one.mix @ decision.accuracy), abs=1e-4)


def test_latency_is_that_of_the_plant(one: Situation) -> None:
    found = fronts(one)
    for number, rate in enumerate(one.rates):
        at = found.latency["joint"][number]
        assert at.latency_s[0] == pytest.approx(one.plant.latency(found.joint.tokens[0] * rate, rate))
        tokens = found.joint.tokens_at(at.accuracy[-1])
        assert tokens is not None
        assert at.latency_s[-1] == pytest.approx(one.plant.latency(tokens * rate, rate))
        assert tokens * rate <= one.bound * (1.0 + 1e-9)
    full = found.fixed[0]
    assert full.name == "full thought"
    assert full.latency_s[0] == pytest.approx(one.plant.latency(one.full_tokens * 4.0, 4.0))
    assert full.latency_s[1] is None  # 9 requests/s are more than are planned for


def test_where_nothing_keeps_up_the_front_is_empty() -> None:
    found = fronts(situation(made_profile(), PLAIN, rates=[500.0]))
    assert found.latency["joint"][0].accuracy == ()


def test_uncertified_points_are_marked_but_not_used() -> None:
    one = situation(made_profile(certified_to=3), PLAIN)  # down to 0.95
    found = fronts(one)
    assert {fixed.name: fixed.usable for fixed in found.fixed} == {
        "full thought": True, "fixed 0.90": False, "fixed 0.95": True, "fixed 0.97": True,
    }  # fmt: skip
    assert min(point.threshold or 1.0 for setting in found.joint.settings for point in setting) == 0.95


def test_full_thought_alone_can_be_analysed() -> None:
    profile = made_profile(certified_to=0)
    one = situation(profile, PLAIN)
    assert len(one.tables.points) == 1
    assert fronts(one).joint.tokens == (pytest.approx(one.full_tokens),)
    assert sheds_from(one) == pytest.approx(largest_rate(one, [0.0, 0.0, 0.0]))


# Capacity


def test_requests_are_shed_from_the_rate_told(one: Situation, program: Optimizer) -> None:
    found = bisect(1.0, 60.0, lambda rate: float(program.solve(one.load(rate), one.plant).shed.max()) < 1e-5)
    assert sheds_from(one) == pytest.approx(found, rel=2e-3)


@pytest.mark.parametrize("objective", [DEAR_WAITING, CHEAP_SHEDDING])
@pytest.mark.parametrize("mix", [(1.0, 1.0, 1.0), (0.0, 0.5, 0.5), (1.0, 0.0, 0.0)])
def test_where_waiting_is_dear_or_shedding_cheap_it_is_told_too(objective: Objective, mix: tuple[float, ...]) -> None:
    one = situation(made_profile(), objective, mix=mix)
    program = Optimizer(one.tables, objective, clock=still)

    def serves_all(rate: float) -> bool:
        return float(one.mix @ program.solve(one.load(rate), one.plant).shed) < 1e-5

    # The tangents stand for N(D), so that prices move in steps: the rate is not told more exactly than these.
    assert sheds_from(one) == pytest.approx(bisect(0.2, 60.0, serves_all), rel=0.05)


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.1])
def test_floors_are_left_from_the_rate_told(one: Situation, loss: float) -> None:
    floors = tuple((one.tables.accuracy[:, 0] - loss).tolist())
    program = Optimizer(one.tables, replace(PLAIN, accuracy_floors=floors, shed_penalty=50.0), clock=still)
    found = bisect(1.0, 60.0, lambda rate: float(program.solve(one.load(rate), one.plant).slack.floor.max()) < 1e-5)
    assert largest_rate(one, floors) == pytest.approx(found, rel=2e-3)


def test_headroom_ends_where_shedding_begins(one: Situation) -> None:
    found = capacity(one)
    for headroom in found.headroom:
        assert headroom.rate * headroom.factor == pytest.approx(found.sheds_from)
    needed = found.headroom[1].loss
    assert needed is not None
    assert largest_rate(one, (one.tables.accuracy[:, 0] - needed).tolist()) == pytest.approx(9.0, rel=1e-3)
    assert found.headroom[0].loss == 0.0
    rates = [limit.rate for limit in found.bearable]
    assert rates == sorted(rates)


# Prices


@pytest.mark.slow
def test_prices_are_what_one_unit_more_would_change() -> None:
    floors = (0.955, 0.86, 0.68)
    one = situation(made_profile(), replace(PLAIN, accuracy_floors=floors))
    rate = 10.5
    found = sweep.sweep(one, [1.0, rate], still, nothing).steps[1]
    step = 1e-4
    for d in range(3):
        values = []
        for sign in (-1.0, 1.0):
            moved = tuple(floor + sign * step * (n == d) for n, floor in enumerate(floors))
            program = Optimizer(one.tables, replace(one.objective, accuracy_floors=moved), clock=still)
            values.append(program.solve(one.load(rate), one.plant).value)
        assert found.floor_price[d] == pytest.approx((values[0] - values[1]) / (2 * step), abs=0.02)
    assert max(found.floor_price) > 0.1
    assert found.token_price == pytest.approx(found.latency_price + found.capacity_price)


def test_moving_slowly_costs_only_after_a_surge(one: Situation) -> None:
    found = sweep.sweep(one, sweep.grid(one, sheds_from(one)), still, nothing)
    assert max(found.steps[0].surge_price) < 1e-4
    assert max(found.steps[-1].surge_price) > 1e-3
    assert [step.rate for step in found.looked_at] == list(one.rates)
    assert found.steps[-1].shed > 0.05
    latencies = [step.latency_s for step in found.steps if step.latency_s is not None]
    assert len(latencies) == len(found.steps)  # demand stays within its bound


# Policy map


def test_the_table_is_the_map(one: Situation) -> None:
    table = maps.policy_maps(one, [3.0, 9.0, 15.0], still, nothing).table
    mapper = PolicyMapper(one.tables, one.objective, rows=table.rows, clock=still)
    for place, rate in enumerate(table.rates):
        direct = mapper.solve(one.load(rate), one.plant)
        for n in (1, 7, 16, 32, 100):
            row = direct.row(n)
            for d in range(len(table.classes)):
                point = one.tables.points[direct.points[row, d]]
                assert table.thresholds[place][min(row, table.rows - 1)][d] == point.threshold
                assert table.budgets[place][min(row, table.rows - 1)][d] == point.budget


# Checks


def test_brute_force_tries_every_setting(one: Situation) -> None:
    rate = 11.0
    best = -math.inf
    points = range(0, len(one.tables.points) + 1)
    accuracy = np.hstack([np.full((3, 1), -1.0), one.tables.accuracy])
    tokens = np.hstack([np.zeros((3, 1)), one.tables.tokens])
    allowed = [k for k in points if k % 3 == 0]
    sparse = replace(one, tables=one.tables.at([k - 1 for k in allowed[1:]]))
    for setting in itertools.product(allowed, repeat=3):
        classes = np.arange(3)
        demand = rate * float(one.mix @ tokens[classes, setting])
        if demand <= one.bound:
            waiting = one.objective.latency_weight * one.plant.in_system(demand) / rate
            best = max(best, float(one.mix @ accuracy[classes, setting]) - waiting)
    assert brute_force(sparse, rate) == pytest.approx(best, abs=1e-6)


def test_no_way_to_decide_beats_the_linear_program(one: Situation) -> None:
    for gap in gaps(one, [3.0, 9.0, 12.0, 17.0], still, nothing):
        assert gap.brute_force is not None
        assert gap.linear_program >= max(gap.price_bisection, gap.brute_force) - 2e-5


def test_tangents_fall_short_by_little(one: Situation) -> None:
    found = tangents(one)
    assert 0.0 < found.worst < 0.02


def test_the_plant_agrees_with_a_simulation(one: Situation) -> None:
    assert abs(against_simulation(one, 0.6, requests=10_000, seed=3).error) < 0.05


# Wrong beliefs


def test_wrong_beliefs_err_to_the_side_they_must(one: Situation) -> None:
    busy, over = misspecification(one, still, nothing)
    for found in (busy, over):
        for belief in found.wrong:
            if belief.factor < 1.0:  # the machine is thought faster, or the load lighter: too much is promised
                assert belief.accuracy_change >= -1e-6
                assert belief.latency_change_s is None or belief.latency_change_s >= -1e-6
                assert belief.outcome.load >= found.right.load - 1e-6
            else:
                assert belief.accuracy_change <= 1e-6
                assert belief.latency_change_s is not None
                assert belief.latency_change_s <= 1e-6
    assert any(belief.latency_change_s is None for belief in over.wrong)  # overload
    assert min(belief.accuracy_change for belief in over.wrong) < -0.01


# Logs
