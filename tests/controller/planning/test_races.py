"""Races in both programs: against cutting planes, against every choice of every row, and jointly with memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from controller.load import Load
from controller.planning.decision import Decision
from controller.planning.joint_program import Optimizer
from controller.planning.memory import MemoryOptimizer
from controller.planning.objective import Objective
from controller.planning.policy_map import PolicyMapper
from controller.planning.races import racing
from controller.planning.room import Memory
from controller.policies.restricted import with_levers
from controller.risk.account import Allowance
from controller.status import DecisionBasis, DecisionSource
from models.profile.lever import Lever
from models.profile.plant import Plant, StepTime
from models.profile.tables import Charges, OperatingPoint, OperatingTables
from models.profile.width import RaceRule
from tests.support.analysis_profile import still
from tests.support.cutting_planes import best_by_cutting_planes, true_value
from tests.support.random_profiles import random_plant, random_profile, with_races, with_squares
from tests.support.width_profile import racing_profile

PROFILE = racing_profile()
TABLES = with_levers(PROFILE, {Lever.WIDTH}).tables()
PLANT = PROFILE.plant_model()
RACES = [k for k, point in enumerate(TABLES.points) if point.race is not None]


def even(rate: float) -> Load:
    return Load(rate=rate, mix=np.full(3, 1 / 3), work_ratio=np.ones(3))


def random_case(rng: np.random.Generator) -> tuple[OperatingTables, Plant, Load, Objective]:
    tables, plant = with_races(random_profile(rng), rng), random_plant(rng)
    load = Load(
        rate=float(plant.capacity / 1500 * 10 ** rng.uniform(-2.5, 0.0)),
        mix=rng.dirichlet(np.ones(len(tables.classes))),
        work_ratio=rng.uniform(0.5, 2.0, len(tables.classes)),
    )
    objective = Objective(latency_weight=float(10 ** rng.uniform(-5, -3)), order_penalty=0.0)
    return tables, plant, load, objective


def test_the_joint_program_with_races_is_as_good_as_cutting_planes() -> None:
    """On 40 random instances; what tangents miss of N(D) apart."""
    rng, raced = np.random.default_rng(21), 0
    for _ in range(40):
        tables, plant, load, objective = random_case(rng)
        decision = Optimizer(tables, objective, clock=still).solve(load, plant)
        mine = np.hstack([decision.shed[:, None], decision.mixture])
        best = best_by_cutting_planes(tables, objective, load, plant)
        lost = true_value(tables, objective, load, plant, best) - true_value(tables, objective, load, plant, mine)
        waits = objective.latency_weight * plant.in_system(min(decision.demand, 0.97 * plant.capacity)) / load.rate
        assert -2e-5 <= lost <= 1e-4 + 0.01 * waits
        raced += bool(decision.mixture[:, [point.width > 1 for point in tables.points]].sum() > 0.01)
    assert raced >= 8


def joint(rate: float, tables: OperatingTables = TABLES, memory: Memory | None = None) -> Decision:
    program = MemoryOptimizer(tables, Objective(order_penalty=0.0), clock=still)
    return program.solve(even(rate), PLANT, memory=memory)


def raced(decision: Decision) -> float:
    """The share of requests whose thoughts race."""
    return float(decision.mixture[:, RACES].sum() / len(decision.mixture))


def test_idle_places_race_and_none_do_under_load() -> None:
    found = [joint(rate) for rate in (0.1, 3.0, 6.0, 11.0)]
    shares = [raced(one) for one in found]
    assert shares[0] == pytest.approx(1.0, abs=1e-4)
    assert shares[3] == 0.0
    assert np.all(np.diff(shares) <= 1e-6)
    for one, rate in zip(found, (0.1, 3.0, 6.0, 11.0), strict=True):
        assert one.value >= joint(rate, TABLES.alone()).value - 1e-6


def test_thoughts_behind_the_first_let_no_user_wait() -> None:
    """A lone request that races is in the system for the steps that its thoughts take side by side."""
    found = joint(0.001)
    race = TABLES.points[int(found.mixture[0].argmax())]
    seconds = TABLES.tokens[:, RACES[-1]] / race.width * PLANT.step_time.seconds(race.width, PLANT.context)
    assert race.width == 5
    assert found.in_system == pytest.approx(0.001 * seconds.mean(), rel=0.02)


def test_width_and_batch_are_chosen_together_under_the_memory_limit() -> None:
    """Each thought of a race holds cells of its own; the batch that is best with races is not the one without."""
    cells = 2000
    for rate in (1.0, 3.0, 6.0):
        found, free = joint(rate, memory=Memory(cells=cells)), joint(rate)
        assert found.batch is not None
        assert found.cells is not None
        assert found.batch * found.cells <= cells * (1.0 + 1e-4)
        assert raced(found) <= raced(free) + 1e-6
        assert joint(rate, TABLES.alone(), Memory(cells=cells)).value - 1e-6 <= found.value <= free.value + 1e-6
        fixed = Optimizer(TABLES, Objective(order_penalty=0.0), clock=still, memory=True)
        every = [
            fixed.solve(even(rate), replace(PLANT, max_batch=batch), room=cells / batch)
            for batch in range(1, PLANT.max_batch + 1)
        ]
        assert found.value >= max(one.value for one in every) - 2e-5
    assert joint(3.0, memory=Memory(cells=cells)).batch != joint(3.0, TABLES.alone(), Memory(cells=cells)).batch


def test_random_races_under_a_memory_are_as_good_as_every_batch_by_cutting_planes() -> None:
    rng = np.random.default_rng(33)
    for _ in range(8):
        plain, plant, load, objective = random_case(rng)
        tables, plant = with_squares(plain, rng), replace(plant, max_batch=int(rng.integers(2, 9)))
        memory = Memory(cells=round(10 ** rng.uniform(3.3, 4.3)))
        found = MemoryOptimizer(tables, objective, clock=still).solve(load, plant, memory=memory)
        best = -math.inf
        for batch in range(1, plant.max_batch + 1):
            narrower = replace(plant, max_batch=batch)
            x = best_by_cutting_planes(tables, objective, load, narrower, room=memory.cells / batch)
            best = max(best, true_value(tables, objective, load, narrower, x))
        narrower = replace(plant, max_batch=found.batch or plant.max_batch)
        mine = true_value(tables, objective, load, narrower, np.hstack([found.shed[:, None], found.mixture]))
        waits = objective.latency_weight * narrower.in_system(min(found.demand, 0.97 * narrower.capacity)) / load.rate
        assert -2e-5 <= best - mine <= 2e-3 + 0.01 * waits


def one_class(points: Sequence[tuple[OperatingPoint, float, float]]) -> OperatingTables:
    return OperatingTables(
        classes=("all",),
        points=tuple(point for point, _, _ in points),
        tokens=np.array([[tokens for _, tokens, _ in points]]),
        accuracy=np.array([[accuracy for _, _, accuracy in points]]),
        longest=9000,
    )


FULL, SOONER = OperatingPoint(threshold=None, budget=None), OperatingPoint(threshold=0.8, budget=None)


def race(width: int, *, vote: bool = True) -> OperatingPoint:
    return OperatingPoint(threshold=None, budget=None, race=RaceRule(width=width, vote=vote))


@pytest.mark.parametrize(
    ("batch", "weight", "points"),
    [
        (6, 2e-3, [(FULL, 600.0, 0.8), (SOONER, 300.0, 0.74), (race(3), 1700.0, 0.85)]),
        (6, 0.02, [(FULL, 600.0, 0.8), (SOONER, 300.0, 0.74), (race(3, vote=False), 1200.0, 0.799)]),  # worth its time
        (4, 2e-3, [(FULL, 600.0, 0.8), (race(3), 1700.0, 0.83), (race(5), 2900.0, 0.9)]),  # the widest never fits
    ],
)
def test_no_choice_of_rows_of_a_small_map_is_better(
    batch: int, weight: float, points: list[tuple[OperatingPoint, float, float]]
) -> None:
    """One class, three rows: each row takes any point, and a race in it is as fast as its places allow."""
    plant, tables = Plant(step_time=StepTime(a=0.004, c=0.0003), max_batch=batch), one_class(points)
    objective, rows = Objective(latency_weight=weight, shed_penalty=0.5, order_penalty=0.0), 3
    widths = [point.width for point in tables.points]
    choices = []
    for rate in (0.05, 0.5, 2.0, 4.0):
        load = Load(rate=rate, mix=np.ones(1), work_ratio=np.ones(1))
        table = PolicyMapper(tables, objective, rows=rows, clock=still).solve(load, plant)
        values = {}
        for choice in itertools.product(range(len(points)), repeat=rows):
            wide = [widths[k] for k in choice]
            if any(w > 1 and w * n > batch for n, w in enumerate(wide, start=1)):
                continue
            steps = [w * n for n, w in enumerate(wide, start=1)]  # rows of a step
            ends = [plant.rate(b) / tables.tokens[0, k] for b, k in zip(steps, choice, strict=True)]
            share = np.cumprod([1.0] + [rate / one for one in ends])
            share /= share.sum()
            won = share[1:] @ (np.array(ends) * tables.accuracy[0, list(choice)])
            waits = objective.latency_weight * (share @ np.arange(rows + 1))
            values[choice] = (won - waits - objective.shed_penalty * rate * share[-1]) / rate
        best = max(values, key=lambda one: values[one])
        assert table.value == pytest.approx(values[best], abs=1e-6)
        served = [0 if n * widths[k] > batch else k for n, k in enumerate(table.points[:, 0].tolist(), start=1)]
        assert tuple(served) == best
        choices.append(best)
        planned = Optimizer(tables, objective, clock=still).solve(load, plant)
        mine = np.hstack([planned.shed[:, None], planned.mixture])
        cut = true_value(tables, objective, load, plant, best_by_cutting_planes(tables, objective, load, plant))
        tangents = 0.01 * weight * plant.in_system(min(planned.demand, 0.97 * plant.capacity)) / rate  # miss as much
        assert cut - true_value(tables, objective, load, plant, mine) <= 1e-4 + tangents
    assert widths[choices[0][0]] == 3
    assert all(widths[k] == 1 for k in choices[-1])


def test_another_pace_of_the_same_rate_searches_for_a_batch_again() -> None:
    kept = MemoryOptimizer(TABLES, Objective(order_penalty=0.0), clock=still)
    memory = Memory(cells=2000)
    assert kept.solve(even(3.0), PLANT, memory=memory).batch is not None
    for ratio in (1.2, 2.0):
        load = replace(even(3.0), work_ratio=np.full(3, ratio))
        found = kept.solve(load, PLANT, memory=memory)
        fresh = MemoryOptimizer(TABLES, Objective(order_penalty=0.0), clock=still).solve(load, PLANT, memory=memory)
        assert found.batch == fresh.batch
        assert found.value == pytest.approx(fresh.value, abs=1e-6)


@pytest.mark.parametrize("own", [True, False])
def test_an_account_of_risk_plans_races_that_charge_nothing(own: bool) -> None:
    charges = np.zeros(TABLES.tokens.shape)
    charges[:, [k for k, point in enumerate(TABLES.points) if point.threshold is not None]] = 0.02
    tables = replace(TABLES, charges=Charges(of=charges, own=own))
    for rate, allowed in itertools.product((0.1, 3.0, 11.0), (0.0, 0.01, 1.0)):
        allowance = Allowance(charge=allowed, worth=0.0)
        found, narrow = (
            PolicyMapper(each, Objective(), clock=still).solve(even(rate), PLANT, allowance)
            for each in (tables, tables.alone())
        )
        assert found.charge <= allowed + 1e-9
        assert found.value >= narrow.value - 1e-6
        free = PolicyMapper(TABLES, Objective(), clock=still).solve(even(rate), PLANT)
        assert found.value <= free.value + 1e-6
        if allowed == 1.0:
            assert found.value == pytest.approx(free.value, abs=1e-5)


def test_rows_without_room_win_nothing_by_races() -> None:
    assert TABLES.p95_steps is not None
    for n in (1, 2, 3, 4, 16, 99):
        seen = racing(TABLES, PLANT, n)
        assert seen.p95_steps is not None
        for k in RACES:
            rows = n * TABLES.points[k].width
            if rows > PLANT.max_batch:
                assert np.array_equal(seen.accuracy[:, k], TABLES.accuracy[:, 0])
                assert np.array_equal(seen.tokens[:, k], TABLES.tokens[:, 0])
                assert np.array_equal(seen.p95_steps[:, k], TABLES.p95_steps[:, 0])
            else:
                seconds = TABLES.tokens[:, k] / PLANT.rate(rows)
                assert seen.tokens[:, k] / PLANT.rate(n) == pytest.approx(seconds)
                slower = PLANT.step_time.seconds(rows, PLANT.context) / PLANT.step_time.seconds(n, PLANT.context)
                assert seen.p95_steps[:, k] == pytest.approx(slower * TABLES.p95_steps[:, k])
    unknown = racing(TABLES, None, 1)
    assert np.array_equal(unknown.accuracy[:, RACES[0]], TABLES.accuracy[:, 0])


def test_a_race_that_is_cheaper_than_a_full_thought_is_so_only_where_there_is_room() -> None:
    """The first of two to finish may take fewer rows together than one thought with a heavy tail."""
    tokens = TABLES.tokens.copy()
    tokens[:, RACES] = 0.8 * tokens[:, :1]
    cheap = replace(TABLES, tokens=tokens)
    for n, k in itertools.product((1, 8, 200), RACES):
        room = n * TABLES.points[k].width <= PLANT.max_batch
        assert (racing(cheap, PLANT, n).tokens[:, k] < cheap.tokens[:, 0]).all() == room


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_floor_that_races_alone_reach_drops_no_floor_of_thoughts_alone(share: float) -> None:
    alone, best = TABLES.alone().accuracy.max(axis=1), TABLES.accuracy.max(axis=1)
    assert best[2] > alone[2] + 1e-2
    floors = (float(alone[0]), float(alone[1]), float((alone[2] + best[2]) / 2))
    rate = share * PLANT.capacity / float(np.mean(TABLES.tokens[:, 0]))
    optimizer = Optimizer(TABLES, Objective(latency_weight=1e-3, accuracy_floors=floors), clock=still)
    decision = optimizer.solve(even(rate), PLANT)
    assert DecisionBasis(source=DecisionSource.POLICY_MAP, price=0.0, planned=decision).floors
