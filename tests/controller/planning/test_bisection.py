"""Price bisection decides as the linear program does, where that has nothing but prices to go by."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.solver import saturating_profile
from controller.load import Load
from controller.planning.bisection import decide
from controller.planning.joint_program import Optimizer
from controller.planning.objective import Objective
from tests.support.random_profiles import GPU, random_plant, random_profile


def even_load(rate: float) -> Load:
    return Load(rate=rate, mix=np.full(3, 1 / 3), work_ratio=np.ones(3))


@pytest.mark.slow
def test_it_is_as_good_as_the_linear_program() -> None:
    """120 random instances, overload among them; the program knows N by its tangents only, the bisection exactly."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        tables, plant = random_profile(rng), random_plant(rng)
        classes = len(tables.classes)
        objective = Objective(
            latency_weight=float(10 ** rng.uniform(-4, -2)),
            shed_penalty=float(rng.uniform(0.2, 3.0)),
            order_penalty=0.0,
        )
        program = Optimizer(tables, objective, clock=lambda: 0.0)
        for _ in range(3):
            load = Load(
                rate=float(plant.capacity / 1500 * 10 ** rng.uniform(-2, 1)),
                mix=rng.dirichlet(np.ones(classes)),
                work_ratio=rng.uniform(0.5, 2.0, classes),
            )
            solved, decided = program.solve(load, plant), decide(tables, objective, load, plant)
            seconds = solved.in_system / max(load.rate, 1e-9)
            tangent_error = 0.02 * objective.latency_weight * seconds
            assert decided.value == pytest.approx(solved.value, abs=1e-3 + tangent_error)
            assert decided.mixture.sum(axis=1) + decided.shed == pytest.approx(np.ones(classes))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.8, 1.2, 2.0, 5.0, 60.0])
def test_demand_stays_within_its_bound_and_the_decision_like_the_programs(rate: float) -> None:
    tables, objective = saturating_profile(), Objective(order_penalty=0.0)
    decided = decide(tables, objective, even_load(rate), GPU)
    solved = Optimizer(tables, objective, clock=lambda: 0.0).solve(even_load(rate), GPU)
    assert decided.load <= objective.max_load + 1e-9
    assert decided.load == pytest.approx(solved.load, abs=0.02)
    assert decided.shed == pytest.approx(solved.shed, abs=0.02)
    assert decided.budget == pytest.approx(solved.budget, rel=0.1)
    assert decided.prices.token == pytest.approx(decided.prices.latency + decided.prices.capacity)


def test_what_even_shedding_cannot_serve_is_told_as_slack() -> None:
    decided = decide(saturating_profile(), Objective(), even_load(400.0), GPU)
    assert decided.shed.tolist() == [1.0, 1.0, 1.0]
    assert decided.slack.capacity == pytest.approx(400 * 5 / GPU.capacity - 0.95)


def test_a_load_of_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="mix has 1 classes, the profile 3"):
        decide(saturating_profile(), Objective(), Load(rate=1.0, mix=[1.0], work_ratio=[1.0]), GPU)
