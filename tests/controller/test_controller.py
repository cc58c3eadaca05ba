"""The load-aware policy on its real estimator and solvers: whatever happens, limits stay certified, and it says so."""

from __future__ import annotations

import math
import os
import resource
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.controller import Controller
from controller.decision_log import DecisionLog
from controller.planning.plan import Plan, Solver, SolveRequest
from controller.planning.planner import Planner
from controller.replay import read_decisions, replay
from controller.settings import ControllerSettings, SettingsFile
from controller.solver_thread import SolverThread
from controller.status import ControllerStatus, DecisionSource
from models.files.strict_yaml import ConfigError
from tests.support.analysis_profile import CLASSES, made_profile

PROFILE = made_profile(certified_to=5)  # 0.5 and 0.65 are not certified
QUALITY = PROFILE.tables()
PLANNER = Planner(QUALITY, clock=time.perf_counter)  # compiled once for all tests
FULL_RATE = PROFILE.plant_model().capacity / float(
    np.mean(np.array(PROFILE.tokens)[:, 0, 0])
)  # requests/s of full thoughts


class AtOnce:
    """A solver that solves while it is asked."""

    def __init__(self, solve: Callable[[SolveRequest], Plan] = PLANNER) -> None:
        self._solve = solve
        self._answer: Plan | Exception | None = None
        self.situations: list[SolveRequest] = []

    def ask(self, situation: SolveRequest) -> None:
        self.situations.append(situation)
        try:
            self._answer = self._solve(situation)
        except Exception as error:
            self._answer = error

    def answer(self) -> Plan | Exception | None:
        answer, self._answer = self._answer, None
        return answer


class Driven:
    """A controller, and the traffic that it sees."""

    def __init__(self, solver: Solver | None = None, file: Path | None = None, **options: Any) -> None:
        self.controller = Controller(
            PROFILE, settings=SettingsFile(file, len(CLASSES)), solver=solver or AtOnce(), **options
        )
        self.rng = np.random.default_rng(0)
        self.now = 1000.0

    @property
    def status(self) -> ControllerStatus:
        return self.controller.status

    def tick(self, in_system: int, seconds: float = 0.5) -> None:
        self.now += seconds
        self.controller.tick(self.now, in_system)
        self.check()

    def run(self, seconds: float, *, rate: float, in_system: int, classes: tuple[str, ...] = CLASSES) -> None:
        for _ in range(round(seconds / 0.5)):
            for _ in range(int(self.rng.poisson(rate * 0.5))):
                name = str(self.rng.choice(classes))
                self.controller.arrived(name)
                self.controller.finished(name, int(self.rng.integers(50, 400)))
            if in_system:
                batch = min(in_system, 16)
                self.controller.stepped(batch, 200.0, 0.004 + 3.4e-4 * batch)
            self.tick(in_system)

    def check(self) -> None:
        for name in (*CLASSES, None):
            limits = self.controller.limits(name)
            assert (limits.threshold, limits.budget) in self.controller.certified
        assert math.isfinite(self.status.estimate.rate)


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


def test_a_failure_inside_the_controller_holds_the_safe_point_until_it_can_decide_again() -> None:
    class Refusing(AtOnce):
        refuses = True

        def ask(self, situation: SolveRequest) -> None:
            if self.refuses:
                raise OSError("no threads left")
            super().ask(situation)

    solver = Refusing()
    driven = Driven(solver)
    driven.run(5.0, rate=1.0, in_system=3)
    assert driven.status.source is DecisionSource.SAFE_POINT
    assert "the controller failed: OSError: no threads left" in driven.status.problems
    solver.refuses = False
    driven.run(10.0, rate=1.0, in_system=3)
    assert driven.status.source is DecisionSource.POLICY_MAP
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
        return Plan(situation=situation, prices=(math.nan,) * 4, decision=plan.decision, solve_s=plan.solve_s)

    driven = Driven(AtOnce(solve))
    driven.run(5.0, rate=1.0, in_system=3)
    assert driven.status.source is DecisionSource.PRICE_BISECTION
    assert "the solver failed: a price is not finite" in driven.status.problems


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


def test_a_class_that_never_comes_has_limits_all_the_same() -> None:
    driven = Driven()
    driven.run(120.0, rate=2.0, in_system=5, classes=("easy",))
    assert driven.status.source is DecisionSource.POLICY_MAP
    assert driven.status.problems == ()
    assert driven.status.estimate.mix[2] < 0.1


def test_without_any_load_every_class_has_its_most_accurate_point() -> None:
    driven = Driven()
    driven.run(300.0, rate=0.0, in_system=0)
    assert driven.status.source is DecisionSource.POLICY_MAP
    assert driven.status.problems == ()
    points = driven.controller._points
    # w = 1e-3 makes a lone request's own waiting count a little, so not exactly the best
    assert all(QUALITY.accuracy[d, k] > QUALITY.accuracy[d].max() - 0.02 for d, k in enumerate(points))


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


def test_much_change_is_solved_for_before_it_is_time() -> None:
    solver = AtOnce()
    driven = Driven(solver)
    driven.run(30.0, rate=0.5, in_system=1)
    times = [situation.time_s for situation in solver.situations]
    driven.run(4.0, rate=40.0, in_system=60)
    burst = [situation.time_s for situation in solver.situations if situation.time_s > times[-1]]
    assert len(burst) >= 2
    assert min(np.diff([times[-1], *burst])) >= ControllerSettings().soonest_s


def test_the_latest_situation_wins_on_the_solver_s_thread() -> None:
    go, solved = threading.Event(), []

    def solve(situation: SolveRequest) -> Plan:
        go.wait(10.0)
        solved.append(situation.number)
        return PLANNER(situation)

    asked = AtOnce()
    driven = Driven(asked)
    driven.run(20.0, rate=1.0, in_system=2)
    solver = SolverThread(solve)
    for situation in asked.situations[:3]:
        solver.ask(situation)
        time.sleep(0.05)
    go.set()
    deadline = time.monotonic() + 10.0
    while len(solved) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    solver.stop()
    assert solved == [asked.situations[0].number, asked.situations[2].number]


def test_recorded_decisions_replay_to_the_same(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl")
    driven = Driven(sink=log)
    driven.run(15.0, rate=0.3 * FULL_RATE, in_system=2)
    driven.run(15.0, rate=3 * FULL_RATE, in_system=70)
    driven.run(15.0, rate=0.3 * FULL_RATE, in_system=4)
    log.close()
    assert log.complaint() is None
    found = replay(PROFILE, read_decisions(log.path))
    assert found.same, found
    assert found.decisions >= 88
    assert found.solves >= 5


def test_a_decision_that_was_tampered_with_is_found(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl")
    driven = Driven(sink=log)
    driven.run(5.0, rate=1.0, in_system=2)
    log.close()
    decisions = list(read_decisions(log.path))
    decisions[3]["held"]["points"] = [7, 7, 7]
    decisions[4]["price"] *= 1.01
    found = replay(PROFILE, iter(decisions))
    assert 3 in found.differing
    assert found.price_error == pytest.approx(0.0099, abs=1e-3)


def test_log_files_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl", max_bytes=1000, keep=2)
    for number in range(100):
        log({"number": number, "text": "x" * 80})
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["decisions.jsonl", "decisions.jsonl.1", "decisions.jsonl.2"]
    assert all(file.stat().st_size <= 1000 for file in files)
    numbers = [said["number"] for said in read_decisions(log.path)]
    assert numbers == list(range(numbers[0], 100))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full here")
def test_a_full_disk_is_reported_and_deciding_goes_on() -> None:
    _goes_on(DecisionLog(Path("/dev/full")), "No space left on device")


def test_a_log_that_cannot_be_written_is_reported_and_deciding_goes_on(tmp_path: Path) -> None:
    _goes_on(DecisionLog(tmp_path / "nowhere" / "decisions.jsonl"), "No such file")


def _goes_on(log: DecisionLog, why: str) -> None:
    driven = Driven(sink=log, complaints=log.complaint)
    driven.run(5.0, rate=1.0, in_system=2)
    log.close()
    driven.tick(2)
    assert driven.status.source is DecisionSource.POLICY_MAP
    assert any(why in problem and "are lost" in problem for problem in driven.status.problems)


def test_a_decision_that_a_full_disk_has_cut_off_is_taken_back(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl")
    log({"number": 0})
    log.close()
    log = DecisionLog(log.path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 7, limits[1]))  # half a line more
    try:
        log({"number": 1})
        deadline = time.monotonic() + 10.0
        while log.complaint() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "1 decisions are lost" in str(log.complaint())
    log({"number": 2})
    log.close()
    assert [said["number"] for said in read_decisions(log.path)] == [0, 2]


def test_a_last_line_that_was_cut_off_is_left_out_and_any_other_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    file.write_text('{"a": 1}\n{"a": 2')
    assert list(read_decisions(file)) == [{"a": 1}]
    file.write_text('{"a": 1\n{"a": 2}\n')
    with pytest.raises(ValueError, match=r"decisions\.jsonl:1"):
        list(read_decisions(file))


def test_a_sink_s_decisions_are_plain_json() -> None:
    import json

    told: list[Mapping[str, Any]] = []
    driven = Driven(sink=told.append)
    driven.run(3.0, rate=1.0, in_system=2)
    assert all(json.loads(json.dumps(one, allow_nan=False)) for one in told)
