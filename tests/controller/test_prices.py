"""The controller with an index of running thoughts: prices under load, within the certificate."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.load import Load
from controller.planning.joint_program import Optimizer
from controller.planning.memory import MemoryOptimizer
from controller.planning.objective import Objective
from controller.planning.planner import Planner
from controller.planning.room import Memory
from controller.policies.load_aware import BudgetsOnly, LoadAware, ThresholdsOnly
from controller.policies.registry import changed
from controller.policies.restricted import with_levers
from controller.policy import Limits
from controller.selection import choose, limits_at
from controller.serving.ordering.remaining import RowForecast
from models.profile.lever import Lever
from models.profile.profile import ProfileError
from models.profile.tables import PointId
from tests.support.analysis_profile import CLASSES
from tests.support.cutting_planes import best_by_cutting_planes, true_value
from tests.support.driven_controller import FULL_RATE, AtOnce, Driven
from tests.support.price_index_profile import PRICES, price_index_profile

USED = with_levers(price_index_profile(), {Lever.PRICE_INDEX})
TABLES = USED.tables()
PLANNER = Planner(TABLES, clock=time.perf_counter)


def test_memory_that_binds_plans_a_smaller_batch_at_prices_too() -> None:
    plain, load = price_index_profile().tables(), Load(rate=0.9 * FULL_RATE, mix=np.ones(3) / 3, work_ratio=np.ones(3))
    assert plain.square is not None
    assert TABLES.square is not None
    assert TABLES.prompt == plain.prompt
    unpriced = {point.budget: k for k, point in enumerate(plain.points) if point.threshold is None}
    for k, point in enumerate(TABLES.points):
        spread = plain.square[:, unpriced[point.budget]] / plain.tokens[:, unpriced[point.budget]] ** 2
        assert TABLES.square[:, k] / TABLES.tokens[:, k] ** 2 == pytest.approx(spread)
    program = MemoryOptimizer(TABLES, Objective(), clock=time.perf_counter)
    wide = program.solve(load, USED.plant_model(), memory=Memory(cells=10**6))
    assert wide.batch is None
    assert wide.cells is not None
    tight = program.solve(load, USED.plant_model(), memory=Memory(cells=round(3 * wide.cells)))
    assert tight.batch is not None
    assert tight.batch < USED.plant_model().max_batch
    assert tight.prices.sequence > 0.0


def test_load_raises_the_price_and_calm_lowers_it() -> None:
    driven = Driven(AtOnce(PLANNER), profile=USED)
    driven.run(60.0, rate=0.02 * FULL_RATE, in_system=0)
    calm = [driven.controller.limits(name) for name in CLASSES]
    driven.run(120.0, rate=2.5 * FULL_RATE, in_system=60)
    busy = [driven.controller.limits(name) for name in CLASSES]
    prices = [tuple(0.0 if one.index is None else one.index.price for one in each) for each in (calm, busy)]
    assert all(a <= b for a, b in zip(*prices, strict=True))
    assert max(prices[1]) > max(prices[0])
    assert driven.controller.limits(None) == driven.controller.limits(CLASSES[-1])
    assert USED.index is not None
    assert driven.controller.certificate == USED.index.certificate


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 200), st.integers(1, 12)), min_size=1, max_size=6))
def test_no_load_leads_out_of_the_certified_set(loads: list[tuple[float, int, int]]) -> None:
    driven = Driven(AtOnce(PLANNER), profile=USED)
    for share, in_system, seconds in loads:
        driven.run(float(seconds), rate=share * FULL_RATE, in_system=in_system)  # checks at every tick
        for name in CLASSES:
            index = driven.controller.limits(name).index
            assert index is None or index.price in PRICES[:4]  # the fifth is not certified


@given(st.floats(0.0, 0.05), st.lists(st.floats(0.2, 4.0), min_size=3, max_size=3))
def test_at_each_price_of_the_plan_every_class_gets_its_best_point(price: float, ratio: list[float]) -> None:
    work = np.array(ratio)
    chosen = choose(TABLES, Objective(stickiness=0.0), price=price, work_ratio=work)
    worth = TABLES.accuracy - price * work[:, None] * TABLES.tokens
    assert worth[np.arange(3), list(chosen)] == pytest.approx(worth.max(axis=1))


def test_the_joint_program_is_as_good_as_cutting_planes_over_prices() -> None:
    objective = Objective(order_penalty=0.0, latency_weight=3e-3)
    program, plant = Optimizer(TABLES, objective, clock=lambda: 0.0), USED.plant_model()
    for share in (0.3, 0.9, 1.4):
        load = Load(rate=share * FULL_RATE, mix=np.full(3, 1 / 3), work_ratio=np.ones(3))
        decision = program.solve(load, plant)
        mine = np.hstack([decision.shed[:, None], decision.mixture])
        best = best_by_cutting_planes(TABLES, objective, load, plant)
        gap = true_value(TABLES, objective, load, plant, best) - true_value(TABLES, objective, load, plant, mine)
        assert -2e-5 <= gap <= 1e-3


def test_each_class_s_bars_are_its_own() -> None:
    assert TABLES.index is not None
    k = next(PointId(k) for k, point in enumerate(TABLES.points) if point.price == PRICES[1])
    limits = limits_at(TABLES, (k, k, k))
    assert [one.index for one in limits] == [TABLES.index.limit(d, PRICES[1]) for d in range(3)]
    assert {one.threshold for one in limits} == {None}


def test_rows_that_are_left_are_forecast_at_the_price() -> None:
    forecast = RowForecast.of(USED)
    assert USED.index is not None
    told = [forecast.rows("hard", Limits(index=USED.index.index.limit(2, price))) for price in (PRICES[0], PRICES[3])]
    assert told == [USED.index.tokens[2][1][0], USED.index.tokens[2][4][0]]


def test_it_is_off_by_default_and_stands_beside_no_other_lever() -> None:
    assert not LoadAware().levers
    assert LoadAware(price_index=True).levers == {Lever.PRICE_INDEX}
    for beside, lever in {"give_up": Lever.GIVE_UP, "no_thought": Lever.NO_THOUGHT, "width": Lever.WIDTH}.items():
        with pytest.raises(ValueError, match=f"price_index and {beside} are both True, must be one of them"):
            LoadAware(price_index=True, **{beside: True})
        with pytest.raises(ProfileError, match=f"price_index and {beside} are both True, must be one of them"):
            with_levers(price_index_profile(), {Lever.PRICE_INDEX, lever})
        with pytest.raises(ValueError, match="levers has price-index"):
            replace(USED, levers=frozenset({Lever.PRICE_INDEX, lever}))
    with pytest.raises(ValueError, match="price_index is True, must be False beside risk_peak"):
        LoadAware(price_index=True, risk=0.02, risk_peak=0.1)
    assert LoadAware(price_index=True, risk=0.02, risk_peak=0.02).levers
    for other in (ThresholdsOnly, BudgetsOnly):
        with pytest.raises(ValueError, match=f"price_index is True, but policy is {other.kind}, which has none"):
            changed(other(), None, {"price_index": True})


def test_an_index_is_the_only_signal_of_its_limits() -> None:
    limit = USED.index.index.limit(0, PRICES[0]) if USED.index else None
    with pytest.raises(ValueError, match="index is given beside confidence, must be the only signal"):
        Limits(threshold=0.9, index=limit)
    assert Limits(index=limit, budget=60).probing
    assert Limits(index=limit, budget=60).unprobed() == Limits(budget=60)
