"""The policy map against policy iteration and against trying every policy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.solver import saturating_profile
from controller.load import Load
from controller.planning import policy_map
from controller.planning.ladder import Ladder, ladder
from controller.planning.objective import Objective
from controller.planning.policy_map import PolicyMap, PolicyMapper
from controller.planning.solving import SolverError
from models.profile.plant import Plant
from tests.support.random_profiles import GPU, random_plant, random_profile


def even_load(rate: float) -> Load:
    return Load(rate=rate, mix=np.full(3, 1 / 3), work_ratio=np.ones(3))


def evaluate(
    policy: np.ndarray, levels: Ladder, rate: float, plant: Plant, objective: Objective
) -> tuple[float, np.ndarray]:
    """Gain in correct answers/s and relative values h(0) = 0, …, h(rows) of a level for each row."""
    rows = len(policy)
    equations, known = np.zeros((rows + 1, rows + 1)), np.zeros(rows + 1)  # unknowns: gain, h(1), … h(rows)
    equations[:, 0] = 1.0
    for n in range(rows + 1):
        if n < rows:  # an arrival
            equations[n, n + 1] -= rate
            if n:
                equations[n, n] += rate
        else:
            known[n] -= rate * objective.shed_penalty
        if n:
            ends = plant.rate(n) / levels.tokens[policy[n - 1]]
            equations[n, n] += ends
            if n > 1:
                equations[n, n - 1] -= ends
            known[n] += ends * levels.accuracy[policy[n - 1]] - objective.latency_weight * n
    solution = np.linalg.solve(equations, known)
    return float(solution[0]), np.concatenate(([0.0], solution[1:]))


def policy_iteration(levels: Ladder, rate: float, plant: Plant, objective: Objective, rows: int) -> float:
    """The best gain, correct answers/s."""
    policy = np.zeros(rows, dtype=int)
    for _ in range(100):
        gain, h = evaluate(policy, levels, rate, plant, objective)
        fewer = h[:-1] - h[1:]
        gains = (levels.accuracy + fewer[:, None]) / levels.tokens
        now = gains[np.arange(rows), policy]
        better = gains.max(axis=1) > now + 1e-12 * np.abs(now)
        if not better.any():
            return gain
        policy = np.where(better, gains.argmax(axis=1), policy)
    raise AssertionError("policy iteration did not settle")


def mapped(rate: float, *, rows: int = 64, objective: Objective | None = None) -> PolicyMap:
    return PolicyMapper(saturating_profile(), objective or Objective(), rows=rows, clock=lambda: 0.0).solve(
        even_load(rate), GPU
    )


def test_its_optimum_is_that_of_policy_iteration() -> None:
    """On random tables, plants and loads; the table, too, earns that optimum."""
    rng = np.random.default_rng(2)
    for _ in range(25):
        tables, plant = random_profile(rng), random_plant(rng)
        classes = len(tables.classes)
        objective = Objective(latency_weight=float(10 ** rng.uniform(-4, -2)), shed_penalty=float(rng.uniform(0.2, 2)))
        load = Load(
            rate=float(plant.capacity / 1500 * 10 ** rng.uniform(-1.5, 0.5)),
            mix=rng.dirichlet(np.ones(classes)),
            work_ratio=rng.uniform(0.5, 2.0, classes),
        )
        rows = int(rng.integers(5, 60))
        table = PolicyMapper(tables, objective, rows=rows, clock=lambda: 0.0).solve(load, plant)
        levels = ladder(tables, load)
        best = policy_iteration(levels, load.rate, plant, objective, rows) / load.rate
        assert table.value == pytest.approx(best, abs=1e-6)
        own, _ = evaluate(table.level, levels, load.rate, plant, objective)
        assert own / load.rate == pytest.approx(best, abs=1e-6)


def test_no_policy_of_a_small_table_is_better() -> None:
    objective, rate, rows = Objective(latency_weight=3e-3), 1.2, 4
    table = mapped(rate, rows=rows, objective=objective)
    levels = ladder(saturating_profile(), even_load(rate))
    some = range(0, len(levels.tokens), 3)
    for policy in itertools.product(some, repeat=rows):
        gain, _ = evaluate(np.array(policy), levels, rate, GPU, objective)
        assert gain / rate <= table.value + 1e-6


def test_the_fuller_the_system_the_dearer_a_token_and_the_shorter_the_thoughts() -> None:
    table = mapped(1.2)
    assert np.all(np.diff(table.price) > -1e-9)
    assert np.all(np.diff(table.level) <= 0)
    assert np.all(np.diff(saturating_profile().budgets[table.points], axis=0) <= 0)
    assert table.level[0] > table.level[-1] + 5
    assert 0.0 < table.turned_away < 1e-3


def test_more_load_makes_every_row_cheaper() -> None:
    light, heavy = mapped(0.3), mapped(1.5)
    assert np.all(heavy.level <= light.level)
    assert heavy.in_system > light.in_system


def test_overload_answers_all_rows_with_the_cheapest_level_and_turns_away() -> None:
    table = mapped(30.0)
    assert table.level.max() == 0
    assert table.turned_away > 0.5


def test_numbers_beyond_the_table_get_its_ends() -> None:
    table = mapped(1.0, rows=8)
    assert [table.row(n) for n in (0, 1, 2, 8, 900)] == [0, 0, 1, 7, 7]


def test_a_ladder_climbs_one_hull_point_at_a_time_by_falling_worth() -> None:
    tables = saturating_profile()
    load = Load(rate=1.0, mix=np.array([0.5, 0.3, 0.2]), work_ratio=np.array([0.8, 1.0, 1.2]))
    levels = ladder(tables, load)
    assert np.all(np.count_nonzero(np.diff(levels.points, axis=0), axis=1) == 1)
    worth = np.diff(levels.accuracy) / np.diff(levels.tokens)
    assert np.all(np.diff(worth) <= 1e-12)
    assert levels.accuracy[-1] == pytest.approx(tables.accuracy.max(axis=1) @ load.mix)
    for price in np.geomspace(1e-6, 1e-2, 50):  # at any token price some level is what each class would choose
        best = levels.accuracy - price * levels.tokens
        own = (tables.accuracy - price * load.work_ratio[:, None] * tables.tokens).max(axis=1) @ load.mix
        assert best.max() == pytest.approx(own, abs=1e-9)


def test_the_program_follows_the_rules_that_let_it_be_compiled_once() -> None:
    mapper = PolicyMapper(saturating_profile(), Objective(), clock=lambda: 0.0)
    assert mapper.problem is not None
    assert mapper.problem.is_dcp(dpp=True)
    first, other = mapper.solve(even_load(1.0), GPU), mapper.solve(even_load(3.0), GPU)
    again = mapper.solve(even_load(1.0), GPU)
    assert first.value == pytest.approx(again.value, abs=1e-12)
    assert first.value > other.value
    assert np.array_equal(first.level, again.level)


def test_without_any_load_it_still_has_a_table() -> None:
    table = mapped(0.0)
    assert table.level[0] == table.level.max()
    assert np.all(np.isfinite(table.price))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="rows is 1, must be at least 2"):
        PolicyMapper(saturating_profile(), Objective(), rows=1, clock=lambda: 0.0)
    mapper = PolicyMapper(saturating_profile(), Objective(), clock=lambda: 0.0, solvers=("NO_SUCH_SOLVER",))
    with pytest.raises(ValueError, match="mix has 1 classes, the profile 3"):
        mapper.solve(Load(rate=1.0, mix=[1.0], work_ratio=[1.0]), GPU)
    with pytest.raises(SolverError, match="no optimum for 1 requests/s: NO_SUCH_SOLVER"):
        mapper.solve(even_load(1.0), GPU)


@pytest.mark.parametrize("seed", range(6))
def test_a_map_of_many_rows_is_found_without_a_program_and_is_the_same(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    tables, plant = random_profile(rng), random_plant(rng)
    classes = len(tables.classes)
    load = Load(rate=float(rng.uniform(0.2, 1.2)), mix=np.full(classes, 1 / classes), work_ratio=np.ones(classes))
    by_program = PolicyMapper(tables, Objective(), rows=40, clock=lambda: 0.0).solve(load, plant)
    monkeypatch.setattr(policy_map, "PROGRAM_ROWS", 39)
    mapper = PolicyMapper(tables, Objective(), rows=40, clock=lambda: 0.0)
    assert mapper.problem is None
    found = mapper.solve(load, plant)
    assert found.value == pytest.approx(by_program.value, abs=1e-5)
    assert found.price == pytest.approx(by_program.price, rel=1e-3, abs=1e-9)
    assert found.in_system == pytest.approx(by_program.in_system, rel=1e-2)
    assert (found.risk_price, found.charge) == (0.0, 0.0)


def test_a_thousand_rows_take_no_program() -> None:
    mapper = PolicyMapper(saturating_profile(), Objective(), rows=2048, clock=lambda: 0.0)
    assert mapper.problem is None
    few = PolicyMapper(saturating_profile(), Objective(), clock=lambda: 0.0).solve(even_load(0.5), GPU)
    assert mapper.solve(even_load(0.5), GPU).price[:8] == pytest.approx(few.price[:8], rel=1e-3)
