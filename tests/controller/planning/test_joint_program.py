"""The joint optimiser against cutting planes on the true plant, and at its limits."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest

from benchmarks.solver import saturating_profile
from controller.load import Load
from controller.planning.decision import Decision
from controller.planning.joint_program import Optimizer
from controller.planning.objective import Objective
from controller.planning.solving import SolverError
from models.files import strict_yaml
from models.profile.tables import OperatingTables, prune_hull
from tests.support.analysis_profile import made_profile
from tests.support.cutting_planes import best_by_cutting_planes, true_value, with_shedding
from tests.support.examples import run_example
from tests.support.random_profiles import CLASSES, GPU, random_plant, random_profile


def optimizer(tables: OperatingTables, objective: Objective, **settings: object) -> Optimizer:
    return Optimizer(tables, objective, clock=lambda: 0.0, **settings)  # type: ignore[arg-type]


def even_load(rate: float) -> Load:
    return Load(rate=rate, mix=np.full(3, 1 / 3), work_ratio=np.ones(3))


@pytest.mark.slow
def test_it_is_as_good_as_cutting_planes_on_the_true_plant() -> None:
    """200 random instances, floors and overload among them."""
    rng = np.random.default_rng(7)
    for _ in range(50):
        tables, plant = random_profile(rng), random_plant(rng)
        classes = len(tables.classes)
        objective = Objective(
            latency_weight=float(10 ** rng.uniform(-4, -2)),
            shed_penalty=float(rng.uniform(0.2, 3.0)),
            max_load=float(rng.uniform(0.8, 0.97)),
            accuracy_floors=tuple(rng.uniform(0.3, 0.8, classes)) if rng.random() < 0.5 else (),
            order_penalty=0.0,
        )
        program = optimizer(tables, objective)
        for _ in range(4):
            load = Load(
                rate=float(plant.capacity / 1500 * 10 ** rng.uniform(-2, 1)),
                mix=rng.dirichlet(np.ones(classes)),
                work_ratio=rng.uniform(0.5, 2.0, classes),
            )
            decision = program.solve(load, plant)
            mine = np.hstack([decision.shed[:, None], decision.mixture])
            best = best_by_cutting_planes(tables, objective, load, plant)
            gap = true_value(tables, objective, load, plant, best) - true_value(tables, objective, load, plant, mine)
            assert -2e-5 <= gap <= 1e-3


@pytest.mark.slow
def test_it_is_as_good_as_every_pair_of_points() -> None:
    """One class: the optimum mixes two points at most, so that all pairs and shares can be tried."""
    rng = np.random.default_rng(3)
    objective = Objective(order_penalty=0.0, latency_weight=3e-3)
    for _ in range(10):
        tables, plant = random_profile(rng), random_plant(rng)
        tables = OperatingTables(
            classes=tables.classes[:1], points=tables.points, tokens=tables.tokens[:1], accuracy=tables.accuracy[:1],
            medians=(100.0,),
        )  # fmt: skip
        load = Load(rate=float(plant.capacity / 1500 * 10 ** rng.uniform(-1, 0.5)), mix=[1.0], work_ratio=[1.0])
        columns = len(tables.points) + 1
        best = -math.inf
        for i, j in itertools.combinations(range(columns), 2):
            for share in np.linspace(0.0, 1.0, 101):
                x = np.zeros((1, columns))
                x[0, i], x[0, j] = share, 1.0 - share
                if float((load.rates * with_shedding(tables, objective)[0] * x).sum()) < plant.capacity * 0.95:
                    best = max(best, true_value(tables, objective, load, plant, x))
        decision = optimizer(tables, objective).solve(load, plant)
        mine = np.hstack([decision.shed[:, None], decision.mixture])
        assert true_value(tables, objective, load, plant, mine) >= best - 1e-4


def test_the_program_follows_the_rules_that_let_it_be_compiled_once() -> None:
    floors = Objective(accuracy_floors=(0.5, 0.5, 0.5))
    for objective in (Objective(), floors):
        assert optimizer(saturating_profile(), objective).problem.is_dcp(dpp=True)


def test_every_decision_stays_within_the_table() -> None:
    rng = np.random.default_rng(11)
    tables = saturating_profile()
    program = optimizer(tables, Objective())
    decision: Decision | None = None
    thresholds, budgets = tables.thresholds, tables.budgets
    hulls = [prune_hull(*tables) for tables in zip(tables.tokens, tables.accuracy, strict=True)]
    for _ in range(60):
        load = Load(
            rate=float(10 ** rng.uniform(-3, 2)), mix=rng.dirichlet([1, 1, 1]), work_ratio=rng.uniform(0.3, 3, 3)
        )
        decision = program.solve(load, GPU, previous=decision, elapsed_s=float(rng.uniform(0, 30)))
        assert np.all(decision.mixture >= 0.0)
        assert np.all((decision.shed >= 0.0) & (decision.shed <= 1.0))
        assert decision.mixture.sum(axis=1) + decision.shed == pytest.approx(np.ones(3))
        assert min(thresholds) - 1e-9 <= decision.threshold.min() <= decision.threshold.max() <= max(thresholds) + 1e-9
        assert min(budgets) - 1e-9 <= decision.budget.min() <= decision.budget.max() <= max(budgets) + 1e-9
        for d, hull in enumerate(hulls):
            assert set(np.flatnonzero(decision.mixture[d])) <= set(hull.tolist())


def test_without_load_every_class_gets_its_most_accurate_point() -> None:
    tables = saturating_profile()
    decision = optimizer(tables, Objective(latency_weight=1e-5)).solve(even_load(0.0), GPU)
    assert decision.accuracy == pytest.approx(tables.accuracy.max(axis=1), abs=1e-6)
    assert decision.demand == decision.in_system == 0.0
    assert decision.shed.tolist() == [0.0, 0.0, 0.0]


def test_its_docstring_shows_how_it_is_used() -> None:
    run_example(Optimizer)


def test_a_profile_in_place_of_its_tables_is_refused_in_words() -> None:
    with pytest.raises(TypeError, match=r"tables is a Profile, must be OperatingTables: Profile\.tables\(\)"):
        Optimizer(made_profile(), Objective(), clock=lambda: 0.0)  # type: ignore[arg-type]


def test_a_class_that_never_comes_is_decided_like_the_others() -> None:
    program = optimizer(saturating_profile(), Objective(order_penalty=0.0))
    busy = program.solve(Load(rate=1.5, mix=np.array([0.5, 0.5, 0.0]), work_ratio=np.ones(3)), GPU)
    token = busy.prices.token
    tables = program.tables
    best = np.max(tables.accuracy[2] - token * tables.tokens[2])
    mine = busy.mixture[2] @ (tables.accuracy[2] - token * tables.tokens[2])
    assert busy.shed[2] == 0.0
    assert mine == pytest.approx(best, abs=1e-4)


def test_more_load_degrades_first_and_sheds_last() -> None:
    tables = saturating_profile()
    program = optimizer(tables, Objective())
    shed, tokens = [], []
    cheapest = tables.budgets.min()
    for rate in np.geomspace(0.05, 60.0, 40):
        decision = program.solve(even_load(float(rate)), GPU)
        assert decision.load <= program.objective.max_load + 1e-6
        assert decision.slack.capacity == 0.0
        shed.append(float(decision.shed.mean()))
        tokens.append(float((decision.mixture * tables.tokens).sum() / decision.mixture.sum()))
        if shed[-1] > 1e-3:
            assert decision.budget == pytest.approx(np.full(3, cheapest))
    assert shed[0] == 0.0
    assert shed[-1] > 0.9
    assert np.all(np.diff(shed) > -1e-4)
    assert np.all(np.diff(tokens) < 1e-2 * max(tokens))


def test_what_even_shedding_cannot_serve_is_told_as_slack() -> None:
    decision = optimizer(saturating_profile(), Objective()).solve(even_load(400.0), GPU)
    assert decision.shed.min() == 1.0
    assert decision.slack.capacity == pytest.approx(decision.load - 0.95, abs=1e-4)
    assert decision.load == pytest.approx(400 * 5 / GPU.capacity)
    assert math.isfinite(decision.in_system)


def test_the_token_price_explains_every_choice() -> None:
    tables = saturating_profile()
    ratio = np.array([0.8, 1.0, 1.3])
    program = optimizer(tables, Objective(order_penalty=0.0))
    for rate in (0.1, 0.6, 1.0, 2.0, 6.0):
        decision = program.solve(Load(rate=rate, mix=np.array([0.5, 0.3, 0.2]), work_ratio=ratio), GPU)
        worth = tables.accuracy - decision.prices.token * ratio[:, None] * tables.tokens
        shed_worth = -1.0 - decision.prices.token * ratio * tables.shed_tokens
        best = np.maximum(worth.max(axis=1), shed_worth)
        chosen = (decision.mixture * worth).sum(axis=1) + decision.shed * shed_worth
        assert chosen == pytest.approx(best, abs=2e-4)
        assert decision.prices.token == pytest.approx(decision.prices.latency + decision.prices.capacity)
        if decision.load < 0.94:
            assert decision.prices.capacity == pytest.approx(0.0, abs=1e-7)
            assert decision.prices.latency == pytest.approx(1e-3 * GPU.slope(decision.demand), rel=0.25)


def test_a_floor_is_kept_for_a_price() -> None:
    load = even_load(1.4)
    free = optimizer(saturating_profile(), Objective()).solve(load, GPU)
    kept = optimizer(saturating_profile(), Objective(accuracy_floors=(0.0, 0.0, 0.5))).solve(load, GPU)
    assert free.accuracy[2] < 0.45
    assert kept.accuracy[2] == pytest.approx(0.5, abs=1e-4)
    assert kept.slack.floor == pytest.approx(np.zeros(3), abs=1e-5)
    assert kept.prices.floor[2] > 0.0
    assert free.value > kept.value
    missed = optimizer(saturating_profile(), Objective(accuracy_floors=(0.0, 0.0, 0.9))).solve(even_load(20.0), GPU)
    assert missed.slack.floor[2] > 0.1


def test_a_floor_out_of_reach_counts_as_one_at_the_best_that_a_class_has() -> None:
    tables, load = saturating_profile(), even_load(0.3)
    best = tables.accuracy.max(axis=1)
    beyond, at_best = (
        optimizer(tables, Objective(accuracy_floors=(0.5, 0.3, hard))).solve(load, GPU) for hard in (1.0, best[2])
    )
    assert best[2] < 0.99
    assert beyond.slack.floor.tolist() == at_best.slack.floor.tolist()
    assert beyond.slack.floor.max() < 1e-3
    assert beyond.accuracy == pytest.approx(at_best.accuracy)
    assert beyond.accuracy[2] == pytest.approx(best[2], abs=1e-3)


def test_thresholds_move_no_faster_than_allowed() -> None:
    program = optimizer(saturating_profile(), Objective())
    quiet = program.solve(even_load(0.1), GPU)
    burst = program.solve(even_load(2.0), GPU)
    assert np.max(quiet.threshold - burst.threshold) > 0.1
    soon = program.solve(even_load(2.0), GPU, previous=quiet, elapsed_s=5.0)
    assert np.all(quiet.threshold - soon.threshold <= 0.05 + soon.slack.threshold + 1e-5)
    assert soon.shed.max() == 0.0  # the limit gives way before anyone is turned away
    later = program.solve(even_load(2.0), GPU, previous=quiet, elapsed_s=1000.0)
    assert later.threshold == pytest.approx(burst.threshold, abs=0.02)


def test_a_decision_sticks_where_moving_gains_next_to_nothing() -> None:
    program = optimizer(saturating_profile(), Objective(stickiness=1e-2))
    before = program.solve(even_load(1.000), GPU)
    after = program.solve(even_load(1.001), GPU, previous=before, elapsed_s=60.0)
    assert np.abs(after.mixture - before.mixture).sum() < 2e-3


def test_easier_classes_get_no_longer_budgets_where_that_costs_little() -> None:
    tables = saturating_profile()
    flipped = OperatingTables(  # the "easy" class profits from long thoughts, the "hard" one hardly
        classes=CLASSES, points=tables.points, tokens=tables.tokens[::-1], accuracy=tables.accuracy[::-1]
    )
    free = optimizer(flipped, Objective(order_penalty=0.0)).solve(even_load(0.3), GPU)
    ordered = optimizer(flipped, Objective(order_penalty=10.0)).solve(even_load(0.3), GPU)
    assert free.budget[0] > free.budget[2]
    assert np.all(np.diff(ordered.budget) >= -1.0)


def test_equal_inputs_give_equal_decisions_whatever_was_solved_between() -> None:
    program = optimizer(saturating_profile(), Objective())
    first = program.solve(even_load(1.0), GPU)
    program.solve(even_load(7.0), GPU, previous=first, elapsed_s=3.0)
    again = program.solve(even_load(1.0), GPU)
    fresh = optimizer(saturating_profile(), Objective()).solve(even_load(1.0), GPU)
    for other in (again, fresh):
        assert first.mixture == pytest.approx(other.mixture, abs=1e-12)
        assert first.value == pytest.approx(other.value, abs=1e-12)


def test_the_second_solver_steps_in_agrees_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    clock = itertools.count().__next__
    first = optimizer(saturating_profile(), Objective()).solve(even_load(1.2), GPU)
    second = Optimizer(
        saturating_profile(), Objective(), clock=lambda: float(clock()), solvers=("NO_SUCH_SOLVER", cp.SCIPY)
    ).solve(even_load(1.2), GPU)
    assert (first.solver, second.solver) == (cp.CLARABEL, cp.SCIPY)
    assert second.value == pytest.approx(first.value, abs=1e-6)
    assert second.prices.token == pytest.approx(first.prices.token, rel=1e-3)
    assert second.solve_s == 1.0
    assert capfd.readouterr().out == ""


def test_without_any_solver_it_says_what_each_reported() -> None:
    program = optimizer(saturating_profile(), Objective(), solvers=("NO_SUCH_SOLVER",))
    with pytest.raises(SolverError, match=r"no optimum for 1\.2 requests/s: NO_SUCH_SOLVER: "):
        program.solve(even_load(1.2), GPU)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"latency_weight": -1.0}, "latency_weight is -1.0, must be finite and at least 0"),
        ({"shed_penalty": math.nan}, "shed_penalty is nan"),
        ({"max_load": 1.0}, "max_load is 1.0, must be above 0 and below 1"),
        ({"min_rate": 0.0}, "min_rate is 0.0, must be finite and above 0"),
        ({"tangents": 1}, "tangents is 1, must be at least 2"),
        ({"accuracy_floors": (1.5,)}, "accuracy_floors has 1.5, must be between 0 and 1"),
    ],
)
def test_an_objective_that_cannot_be_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Objective(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rate": -1.0}, "rate is -1.0 requests/s"),
        ({"rate": math.inf}, "rate is inf"),
        ({"mix": [0.5, 0.6]}, "mix sums to 1.1, must be 1"),
        ({"mix": [math.nan, 1.0]}, "mix is \\[nan, 1.0\\]"),
        ({"work_ratio": [1.0, 0.0]}, "work_ratio has 0.0, must be above 0"),
        ({"work_ratio": [1.0]}, "mix has 2 classes and work_ratio 1"),
    ],
)
def test_a_load_that_cannot_be_is_refused(change: dict[str, object], words: str) -> None:
    good: dict[str, object] = {"rate": 1.0, "mix": [0.5, 0.5], "work_ratio": [1.0, 1.0]}
    with pytest.raises(ValueError, match=words):
        Load(**(good | change))  # type: ignore[arg-type]


def test_an_objective_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "objective.yaml"
    path.write_text("latency_weight: 0.002\naccuracy_floors: [0.9, 0.7, 0.5]\n")
    assert strict_yaml.read(path, Objective) == Objective(latency_weight=0.002, accuracy_floors=(0.9, 0.7, 0.5))


@pytest.mark.slow
def test_a_thousandfold_range_of_loads_and_plants_is_always_solved() -> None:
    rng = np.random.default_rng(1)
    for _ in range(12):
        tables = random_profile(rng)
        classes = len(tables.classes)
        program = optimizer(
            tables,
            Objective(
                latency_weight=float(10 ** rng.uniform(-6, -1)),
                accuracy_floors=tuple(rng.uniform(0, 1, classes)),
                max_load=float(rng.uniform(0.3, 0.99)),
            ),
        )
        decision: Decision | None = None
        for _ in range(5):
            load = Load(
                rate=float(10 ** rng.uniform(-6, 5)),
                mix=rng.dirichlet(np.full(classes, 0.3)),
                work_ratio=10 ** rng.uniform(-1, 1, classes),
            )
            decision = program.solve(load, random_plant(rng), previous=decision, elapsed_s=float(rng.uniform(0, 30)))
            assert math.isfinite(decision.value)


def test_inputs_of_another_shape_are_refused() -> None:
    program = optimizer(saturating_profile(), Objective())
    with pytest.raises(ValueError, match="mix has 1 classes, the profile 3"):
        program.solve(Load(rate=1.0, mix=[1.0], work_ratio=[1.0]), GPU)
    with pytest.raises(ValueError, match=r"elapsed_s is -1\.0 s"):
        program.solve(even_load(1.0), GPU, elapsed_s=-1.0)
    with pytest.raises(ValueError, match="accuracy_floors has 1 entries, must have 3 or none"):
        optimizer(saturating_profile(), Objective(accuracy_floors=(0.5,)))
