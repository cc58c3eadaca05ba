"""The load-aware policy on its real estimator and solvers: whatever happens, limits stay certified, and it says so."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.load import Load
from controller.planning.plan import Plan, SolveRequest
from controller.planning.planner import Planner
from controller.settings import ControllerSettings, SettingsFile
from controller.solver_thread import SolverThread
from controller.status import DecisionSource
from models.files.strict_yaml import ConfigError
from models.profile.plant import StepTime
from tests.support.analysis_profile import CLASSES
from tests.support.driven_controller import FULL_RATE, PLANNER, PROFILE, QUALITY, AtOnce, Driven


def test_the_unsolved_beginning_is_served_by_bisection_and_then_by_the_map() -> None:
    driven = Driven()
    assert driven.status.source is DecisionSource.SAFE_POINT
    driven.tick(0)
    driven.tick(0)
    assert driven.status.source is DecisionSource.POLICY_MAP
    assert driven.status.problems == ()
    assert driven.status.solves.solved >= 1


def test_a_frozen_solver_is_reported_and_stood_in_for() -> None:
    thaw = threading.Event()

    def freeze(_situation: SolveRequest) -> Plan:
        thaw.wait(30.0)
        raise RuntimeError("thawed")

    solver = SolverThread(freeze)
    try:
        driven = Driven(solver)
        began = time.perf_counter()
        driven.run(30.0, rate=2 * FULL_RATE, in_system=80)
        assert time.perf_counter() - began < 5.0  # nobody waited for it
        assert driven.status.source is DecisionSource.PRICE_BISECTION
        assert any("has not answered for" in problem for problem in driven.status.problems)
        assert driven.status.solves.solved == 0
    finally:
        thaw.set()
        solver.stop()


def test_a_throwing_solver_leaves_the_last_map_until_it_is_stale() -> None:
    broken = False

    def solve(situation: SolveRequest) -> Plan:
        if broken:
            raise RuntimeError("no licence")
        return PLANNER(situation)

    driven = Driven(AtOnce(solve))
    driven.run(10.0, rate=1.0, in_system=3)
    broken = True
    driven.run(60.0, rate=1.0, in_system=3)
    assert driven.status.source is DecisionSource.POLICY_MAP
    assert "the solver failed: RuntimeError: no licence" in driven.status.problems
    driven.run(80.0, rate=1.0, in_system=3)
    assert driven.status.source is DecisionSource.PRICE_BISECTION
    assert "the policy map is older than 120 s" in driven.status.problems
    broken = False
    driven.run(10.0, rate=1.0, in_system=3)
    assert driven.status.source is DecisionSource.POLICY_MAP
    assert driven.status.problems == ()


def test_a_failure_inside_the_controller_holds_the_safe_point_until_it_can_decide_again(tmp_path: Path) -> None:
    class Refusing(AtOnce):
        refuses = True

        def ask(self, situation: SolveRequest) -> None:
            if self.refuses:
                raise OSError("no threads left")
            super().ask(situation)

    solver = Refusing()
    solver.refuses = False
    file = tmp_path / "controller.yaml"
    file.write_text("objective:\n  slo_s: [2.0, 4.0, 8.0]\n")
    driven = Driven(solver, file)
    driven.run(5.0, rate=1.0, in_system=3)
    assert driven.status.decision is not None
    assert driven.status.slo_steps is not None
    solver.refuses = True
    driven.run(10.0, rate=1.0, in_system=3)
    assert driven.status.source is DecisionSource.SAFE_POINT
    assert "the controller failed: OSError: no threads left" in driven.status.problems
    assert (driven.status.price, driven.status.decision, driven.status.slo_steps) == (None, None, None)
    solver.refuses = False
    driven.run(10.0, rate=1.0, in_system=3)
    assert driven.status.source is DecisionSource.POLICY_MAP
    assert driven.status.problems == ()


class Silent(AtOnce):
    """A solver that never answers."""

    def answer(self) -> Plan | Exception | None:
        return None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of the demand that overflows
def test_a_failed_price_bisection_is_reported_until_it_succeeds(tmp_path: Path) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("objective:\n  min_rate: 1.0e+307\n")  # the demand that is planned for is infinite
    driven = Driven(Silent(), file)
    driven.tick(3)
    assert driven.status.source is DecisionSource.SAFE_POINT
    assert [problem for problem in driven.status.problems if problem.startswith("price bisection failed: demand is")]
    assert driven.status.decision is None
    file.write_text("objective:\n  min_rate: 0.01\n")
    driven.tick(3)
    assert driven.status.source is DecisionSource.PRICE_BISECTION
    assert driven.status.problems == ()


def test_measurements_that_are_not_numbers_are_counted_and_change_nothing_else() -> None:
    driven = Driven()
    driven.run(10.0, rate=1.0, in_system=3)
    before = driven.status.estimate.step_time
    for value in (math.nan, math.inf, -1.0, 0.0):
        driven.controller.stepped(4, 100.0, value)
    for _ in range(2):  # not every step is filtered
        driven.controller.stepped(4, math.nan, 1.0)
    driven.tick(3)
    assert driven.status.rejected >= 5
    assert driven.status.estimate.step_time == before
    driven.controller.finished("easy", math.nan)  # type: ignore[arg-type]  # what must never happen
    driven.run(10.0, rate=1.0, in_system=3)
    assert driven.status.source is DecisionSource.POLICY_MAP


def test_prices_that_are_not_numbers_are_a_failed_solve() -> None:
    def solve(situation: SolveRequest) -> Plan:
        plan = PLANNER(situation)
        return Plan(request=situation, prices=(math.nan,) * 4, decision=plan.decision, solve_s=plan.solve_s)

    driven = Driven(AtOnce(solve))
    driven.run(5.0, rate=1.0, in_system=3)
    assert driven.status.source is DecisionSource.PRICE_BISECTION
    assert "the solver failed: a price is not finite" in driven.status.problems


@pytest.mark.slow
@pytest.mark.parametrize("jump", [3600.0, -3600.0, math.nan, math.inf], ids=["forward", "back", "nan", "inf"])
def test_a_jump_of_the_clock_is_counted_and_tells_nothing_of_the_load(jump: float) -> None:
    driven = Driven()
    driven.run(60.0, rate=3.0, in_system=5)
    rate, seconds = driven.status.estimate.rate, driven.status.time_s
    if math.isfinite(jump):
        driven.now += jump
        driven.tick(5)
    else:
        driven.controller.tick(jump, 5)
        driven.tick(5)
    assert driven.status.jumps == 1
    assert driven.status.estimate.rate == pytest.approx(rate, rel=0.3)
    assert driven.status.time_s - seconds < 2.0
    driven.run(5.0, rate=3.0, in_system=5)
    assert driven.status.source is DecisionSource.POLICY_MAP


@pytest.mark.slow
def test_a_class_that_never_comes_has_limits_all_the_same() -> None:
    driven = Driven()
    driven.run(120.0, rate=2.0, in_system=5, classes=("easy",))
    assert driven.status.source is DecisionSource.POLICY_MAP
    assert driven.status.problems == ()
    assert driven.status.estimate.mix[2] < 0.1


@pytest.mark.slow
def test_without_any_load_every_class_has_its_most_accurate_point() -> None:
    driven = Driven()
    driven.run(300.0, rate=0.0, in_system=0)
    assert driven.status.source is DecisionSource.POLICY_MAP
    assert driven.status.problems == ()
    points = driven.controller._points
    # w = 1e-3 makes a lone request's own waiting count a little, so not exactly the best
    assert all(QUALITY.accuracy[d, k] > QUALITY.accuracy[d].max() - 0.02 for d, k in enumerate(points))


@pytest.mark.slow
def test_a_tenfold_overload_goes_to_the_cheapest_points_and_back() -> None:
    driven = Driven()
    driven.run(20.0, rate=0.3 * FULL_RATE, in_system=3)
    calm = driven.controller._points
    driven.run(40.0, rate=10 * FULL_RATE, in_system=800)
    assert driven.status.source is DecisionSource.POLICY_MAP
    busy = driven.controller._points
    cheapest = [float(QUALITY.tokens[d].min()) for d in range(3)]
    assert [float(QUALITY.tokens[d, k]) for d, k in enumerate(busy)] == pytest.approx(cheapest)
    assert driven.status.decision is not None
    assert driven.status.decision.prices.token > 0.0
    driven.run(200.0, rate=0.3 * FULL_RATE, in_system=3)
    assert all(
        QUALITY.tokens[d, k] >= 0.9 * QUALITY.tokens[d, calm[d]] for d, k in enumerate(driven.controller._points)
    )


def test_thresholds_move_no_faster_than_their_rate_and_budgets_at_once(tmp_path: Path) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("objective:\n  threshold_rate: 0.01\n")
    driven = Driven(file=file)
    driven.run(20.0, rate=0.3 * FULL_RATE, in_system=1)
    held = driven.controller._held
    assert held is not None
    driven.tick(1000)
    after = driven.controller._held
    assert after is not None
    assert after.target != held.target
    assert all(abs(b - a) <= 0.01 * 0.5 + 1e-9 for a, b in zip(held.threshold_now, after.threshold_now, strict=True))
    budgets = [QUALITY.points[k].budget for k in after.points]
    assert budgets == [QUALITY.points[k].budget for k in after.target]


def test_floors_hold_where_the_plan_can_hold_them(tmp_path: Path) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("objective:\n  latency_weight: 0.02\n  accuracy_floors: [0.9, 0.8, 0.6]\n")
    driven = Driven(AtOnce(Planner(QUALITY, clock=time.perf_counter)), file)
    driven.run(20.0, rate=0.3 * FULL_RATE, in_system=12)
    accuracy = [QUALITY.accuracy[d, k] for d, k in enumerate(driven.controller._points)]
    assert all(got >= floor for got, floor in zip(accuracy, (0.9, 0.8, 0.6), strict=True))


@pytest.mark.parametrize("hard", [1.0, float(QUALITY.accuracy[2].max()) - 1e-9])
def test_a_floor_that_is_hardly_met_or_never_drops_no_other_before_an_overload(tmp_path: Path, hard: float) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text(f"objective:\n  latency_weight: 0.02\n  accuracy_floors: [0.9, 0.8, {hard!r}]\n")
    driven = Driven(AtOnce(Planner(QUALITY, clock=time.perf_counter)), file)
    driven.run(20.0, rate=0.3 * FULL_RATE, in_system=12)
    accuracy = [QUALITY.accuracy[d, k] for d, k in enumerate(driven.controller._points)]
    assert all(got >= floor for got, floor in zip(accuracy, (0.9, 0.8, min(hard, accuracy[2])), strict=True))
    assert accuracy[2] == QUALITY.accuracy[2].max()
    driven.run(30.0, rate=20.0 * FULL_RATE, in_system=12)
    assert QUALITY.accuracy[2, driven.controller._points[2]] < accuracy[2]


def test_an_slo_keeps_to_points_that_end_in_time_at_the_present_number_in_the_system(tmp_path: Path) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("objective:\n  latency_weight: 0.0\n  slo_s: [1.5, 3.0, 4.0]\n")
    driven = Driven(file=file)
    assert QUALITY.p95_steps is not None
    full = [int(QUALITY.accuracy[d].argmax()) for d in range(len(CLASSES))]  # waiting costs nothing
    driven.run(5.0, rate=0.2, in_system=1)
    driven.run(5.0, rate=0.2, in_system=12)
    held = driven.controller._held
    assert held is not None
    assert driven.status.slo_steps is not None
    for d, k in enumerate(held.target):
        ratio = driven.status.estimate.work_ratio[d]
        assert ratio * QUALITY.p95_steps[d, k] <= driven.status.slo_steps[d]
        assert QUALITY.tokens[d, k] < QUALITY.tokens[d, full[d]]
    driven.run(5.0, rate=0.2, in_system=2000)  # nothing can be in time: the quickest certified points
    assert driven.status.slo_steps == (0.0, 0.0, 0.0)
    assert list(driven.status.target) == [
        driven.controller._named((k,))[0] for k in QUALITY.p95_steps.argmin(axis=1).tolist()
    ]


def test_a_floor_on_accuracy_goes_before_an_slo(tmp_path: Path) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("objective:\n  accuracy_floors: [0.9, 0.8, 0.6]\n  slo_s: [0.01, 0.01, 0.01]\n")
    driven = Driven(AtOnce(Planner(QUALITY, clock=time.perf_counter)), file)
    driven.run(20.0, rate=0.1 * FULL_RATE, in_system=12)
    accuracy = [QUALITY.accuracy[d, k] for d, k in enumerate(driven.controller._points)]
    assert all(got >= floor for got, floor in zip(accuracy, (0.9, 0.8, 0.6), strict=True))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 50.0),  # requests/s
            st.integers(0, 2000),  # in the system
            st.sampled_from([0.5, 0.7, 5.0, 29.0, 31.0, -5.0, 1e6]),  # s between ticks
            st.floats(allow_nan=True, allow_infinity=True),  # a step's time
            st.integers(0, 100_000),  # tokens of a request
        ),
        min_size=1,
        max_size=25,
    )
)
def test_limits_never_leave_the_certified_range_under_any_load(
    steps: list[tuple[float, int, float, float, int]],
) -> None:
    driven = Driven()
    for rate, in_system, seconds, step_s, tokens in steps:
        for _ in range(min(int(rate * max(seconds, 0.0)), 200)):
            driven.controller.arrived(CLASSES[tokens % 3])
        driven.controller.finished(CLASSES[tokens % 3], tokens)
        driven.controller.stepped(1 + in_system % 16, float(tokens), step_s)
        driven.tick(in_system, seconds)


def test_settings_are_read_again_when_the_file_changes_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("outer_s: 2.0\n")
    driven = Driven(file=file)
    driven.run(5.0, rate=1.0, in_system=2)
    file.write_text("outer_s: 2.0\nobjektive: {}\n")
    driven.run(5.0, rate=1.0, in_system=2)
    assert any("unknown key `objektive`; did you mean `objective`?" in problem for problem in driven.status.problems)
    assert driven.status.source is DecisionSource.POLICY_MAP
    rate = driven.status.estimate.rate
    file.write_text("outer_s: 2.0\nobjective:\n  latency_weight: 0.0\n")
    driven.run(2.0, rate=1.0, in_system=2)
    assert driven.status.problems == ()
    assert driven.status.price == pytest.approx(0.0, abs=1e-6)  # waiting costs nothing any more
    assert driven.status.estimate.rate == pytest.approx(rate, rel=0.8)  # beliefs stay
    file.unlink()
    driven.run(2.0, rate=1.0, in_system=2)
    assert any("cannot be read" in problem for problem in driven.status.problems)


@pytest.mark.parametrize(
    "text",
    [
        "inner_s: 0\n",
        "gap_s: 0.1\n",
        "rows: 1\n",
        "objective:\n  accuracy_floors: [0.5]\n",
        "objective:\n  slo_s: [2.0]\n",
        "objective:\n  slo_s: [2.0, 0.0, 3.0]\n",
        "outer_s: .nan\n",
    ],
)
def test_settings_that_cannot_be_are_refused_at_the_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"controller\.yaml"):
        SettingsFile(file, 3)


def test_places_that_are_idle_cost_the_same_whatever_the_batch_and_the_rows_asked_for(tmp_path: Path) -> None:
    """Where steps take the same time for many as for few, hardly anybody waits before a large batch is full."""
    flat, batch = StepTime(a=0.02, c=5e-5, g=0.0), 128
    plant = replace(PROFILE.plant_model(), step_time=flat, max_batch=batch)
    rate = 0.8 * plant.capacity / float(np.mean(np.array(PROFILE.tokens)[:, 0, 0]))
    file = tmp_path / "controller.yaml"
    file.write_text("rows: 64\n")
    solver = AtOnce()
    Driven(solver, file, max_batch=batch).tick(0)
    load = Load(rate=rate, mix=np.full(3, 1 / 3), work_ratio=np.ones(3))
    asked = replace(solver.situations[-1], load=load, plant=plant)
    prices = Planner(QUALITY, clock=time.perf_counter)(asked).prices
    wide = Planner(QUALITY, clock=time.perf_counter)(replace(asked, rows=4 * batch)).prices
    assert len(prices) >= 2 * batch
    assert prices[: batch // 2] == pytest.approx(wide[: batch // 2], rel=0.05)


def test_much_change_is_solved_for_before_it_is_time() -> None:
    solver = AtOnce()
    driven = Driven(solver)
    driven.run(30.0, rate=0.5, in_system=1)
    times = [situation.time_s for situation in solver.situations]
    driven.run(4.0, rate=40.0, in_system=60)
    burst = [situation.time_s for situation in solver.situations if situation.time_s > times[-1]]
    assert len(burst) >= 2
    assert min(np.diff([times[-1], *burst])) >= ControllerSettings().soonest_s
