"""Services in simulation: the same as with torch, request by request, and the real controller in virtual time."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.controller import Controller
from controller.planning.plan import Plan, SolveRequest
from controller.planning.planner import Planner
from controller.policies.load_rule import LoadRule, LoadRuleSettings
from controller.policy import FixedPolicy, Limits
from controller.serving.trials import probe_spec
from controller.settings import SettingsFile
from engine.base import MARGIN, EngineError, ProbeSpec
from engine.simulated.machine import Machine, VirtualClock, profiled_machine
from experiments.calibration.grid import grid
from experiments.calibration.pricing.index import price_grid
from experiments.calibration.traces import TraceError, read_records
from experiments.evaluation.questions import bundled_questions
from experiments.request_record import RequestRecord
from experiments.simulation.recording import recording
from experiments.simulation.simulation import PunctualSolver, simulate
from experiments.workloads import Gamma, Poisson
from models.profile.give_up import GiveUpCurve, GiveUpLimit
from models.profile.levers.index import IndexLimit
from models.profile.plant import StepTime
from tests.support.recorded_service import (
    BUDGETS,
    MACHINE,
    PER_BENCHMARK,
    PROFILE,
    Moving,
    Recorded,
    assert_alike,
    recorded_in,
    served,
    simulated,
)

DURATION_S = 60.0  # under the controller


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return recorded_in(tmp_path_factory.mktemp("records"))


GIVE_UP = GiveUpLimit(curve=GiveUpCurve(height=0.95, rise=0.2), median=120.0)
PRICED = IndexLimit(price=1e-3, median=120.0, ages=(0.25, 0.75), bars=(0.999, 0.97, 0.6))
POLICIES = {
    "probed, never closed": Limits(threshold=math.inf),
    "a threshold": Limits(threshold=0.6),
    "a budget": Limits(budget=60),
    "both": Limits(threshold=0.97, budget=120),
    "hopeless given up": Limits(threshold=0.97, give_up=GIVE_UP),
    "all three": Limits(threshold=0.97, budget=120, give_up=GIVE_UP),
    "a price": Limits(index=PRICED, budget=120),
}


def asked(recorded: Recorded, seed: int) -> tuple[np.ndarray, list[int]]:
    """Each question and one again, at times that let some queue."""
    rng, count = np.random.default_rng(seed), len(recorded.recording.questions)
    return np.sort(rng.uniform(0.0, 4.0, count + 1)), [*rng.permutation(count).tolist(), 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_a_simulated_service_does_what_torch_does_with_every_request(recorded: Recorded, name: str) -> None:
    arrivals, questions = asked(recorded, 11)
    policy = FixedPolicy(POLICIES[name])
    real = served(recorded, arrivals, questions, policy)
    assert_alike(simulated(recorded, arrivals, questions, policy), real)


@pytest.mark.parametrize("threshold", [0.5, 0.97, None])
def test_what_a_thought_costs_that_may_be_given_up_or_priced_is_what_its_replay_says(
    recorded: Recorded, threshold: float | None
) -> None:
    log, said = read_records(recorded.path), recorded.recording
    count = len(said.questions)
    limits = Limits(index=PRICED) if threshold is None else Limits(threshold=threshold, give_up=GIVE_UP)
    served_alone = simulated(recorded, 100.0 * np.arange(count), range(count), FixedPolicy(limits))
    spec = probe_spec(said.thinking, said.stop_tokens, said.score)
    traces = [log.traces[question.number] for question in said.questions]
    told = price_grid(traces, log.closings, [[PRICED]] * count, BUDGETS, spec)
    if threshold is not None:
        told = grid(traces, log.closings, (threshold,), BUDGETS, spec, [GIVE_UP] * count)
    assert [record.rows for record in served_alone] == told.tokens[:, 1, 0].tolist()
    assert [record.right for record in served_alone] == told.right[:, 1, 0].tolist()
    assert ("price" if threshold is None else "hopeless") in {record.exit_reason for record in served_alone}


@pytest.mark.slow
def test_limits_that_move_act_on_running_thoughts_as_they_do_with_torch(recorded: Recorded, tmp_path: Path) -> None:
    """Budgets fall below thoughts that run, so these are closed anywhere: what follows there is recorded afterwards."""
    ladder = (Limits(threshold=0.999), Limits(threshold=0.8, budget=120), Limits(budget=40))
    arrivals, questions = asked(recorded, 12)
    real = served(recorded, arrivals, questions, Moving(ladder))
    closed_at = {record.thought_tokens for record in real if record.exit_reason == "budget"}
    assert closed_at - {40, *BUDGETS}
    path = tmp_path / "records.jsonl"
    path.write_bytes(recorded.path.read_bytes())
    more = recorded.with_closings(path, sorted(closed_at))
    ours = simulated(more, arrivals, questions, Moving(ladder))
    assert_alike(ours, [replace(other, right=one.right) for one, other in zip(ours, real, strict=True)])


def test_the_same_seed_gives_the_same_records_and_load_makes_them_later(recorded: Recorded) -> None:
    def run(rate: float) -> list[RequestRecord]:
        rng = np.random.default_rng(3)
        arrivals = Gamma(rate=rate, cv=2.0).arrivals(300.0, rng)
        questions = rng.integers(len(recorded.recording.questions), size=arrivals.size).tolist()
        return simulated(recorded, arrivals, questions, FixedPolicy(Limits(threshold=0.9)))

    assert run(0.2) == run(0.2)
    slow, fast = (np.mean([record.latency_s for record in run(rate)]) for rate in (0.2, 1.0))
    assert fast > 1.5 * slow


def controlled(recorded: Recorded, machine: Machine, *, delay_s: float = 0.2) -> tuple[Controller, list[RequestRecord]]:
    """The real controller at one request a second."""
    clock, rng = VirtualClock(), np.random.default_rng(4)
    solver = PunctualSolver(Planner(PROFILE.tables(), clock=clock), clock, delay_s)
    controller = Controller(PROFILE, settings=SettingsFile(None, len(PROFILE.classes)), solver=solver)
    arrivals = Poisson(rate=1.0).arrivals(DURATION_S, rng)
    questions = rng.integers(len(recorded.recording.questions), size=arrivals.size).tolist()
    records = simulate(
        recorded.recording,
        arrivals,
        questions,
        machine=machine,
        clock=clock,
        policy=controller,
        observer=controller,
    )
    return controller, records


@pytest.mark.slow
def test_the_real_controller_runs_in_virtual_time(recorded: Recorded) -> None:
    """It looks up at its cadence, its solves come back, it learns the load, and every limit in force is certified."""
    controller, records = controlled(recorded, profiled_machine(PROFILE))
    state = controller.status
    assert state.problems == ()
    assert state.solves.solved >= DURATION_S / 5.0 - 1
    assert state.jumps == 0
    assert 0.5 < state.estimate.rate < 4.0  # believed at first: 0.2
    certified = {point.threshold for point in controller.certified}
    assert {record.threshold for record in records} <= certified
    again, same = controlled(recorded, profiled_machine(PROFILE))
    assert same == records
    assert again.status.estimate.rate == state.estimate.rate


def test_the_controller_learns_of_a_machine_slower_than_its_profile_says(recorded: Recorded) -> None:
    machine = profiled_machine(PROFILE)
    slow = replace(machine, step_time=StepTime(a=5e-3, c=3e-4, g=1e-7))
    controller, _ = controlled(recorded, slow)
    believed = controller.status.estimate.step_time.seconds(2, 150.0)
    assert believed == pytest.approx(slow.step_time.seconds(2, 150.0), rel=0.25)


def test_a_rule_that_watches_the_load_is_told_of_it(recorded: Recorded) -> None:
    rule = LoadRule([0.5, 0.9], LoadRuleSettings(memory_s=10.0, scale=2.0))
    arrivals = np.arange(0.0, 20.0, 0.2)
    questions = [number % len(recorded.recording.questions) for number in range(arrivals.size)]
    records = simulate(
        recorded.recording,
        arrivals,
        questions,
        machine=MACHINE,
        clock=VirtualClock(),
        policy=rule,
        observer=rule,
    )
    assert records[-1].threshold == 0.5
    assert rule.load > 2.0


def test_questions_and_arrivals_must_be_as_many(recorded: Recorded) -> None:
    with pytest.raises(ValueError, match="there are 1 questions, must be 2: one for each arrival"):
        simulated(recorded, np.array([0.0, 1.0]), [0], FixedPolicy(Limits()))


# --- records


def test_records_of_another_model_or_of_other_questions_are_refused(recorded: Recorded) -> None:
    chat, records = recorded.chat, read_records(recorded.path)
    others = bundled_questions(PER_BENCHMARK, 6)
    with pytest.raises(TraceError, match="with other questions than this run has: name the same"):
        recording(chat, PROFILE, records, others)
    with pytest.raises(TraceError, match="with max_tokens 640, the profile has 64"):
        recording(chat, replace(PROFILE, max_tokens=64), records, recorded.questions)
    fewer = replace(records, traces={number: one for number, one in records.traces.items() if number != 2})
    with pytest.raises(TraceError, match="question 2 is missing"):
        recording(chat, PROFILE, fewer, recorded.questions)


def test_what_was_recorded_is_read_whole_while_more_is_being_written(recorded: Recorded, tmp_path: Path) -> None:
    records = read_records(recorded.path)
    assert len(records.traces) == len(recorded.questions)
    path = tmp_path / "half.jsonl"
    path.write_bytes(recorded.path.read_bytes()[:-20])
    assert len(read_records(path).closings) == len(records.closings) - 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1: is no record of a calibration"),
        ('{"format": "other", "version": 1}\n', ":1: .*format and version are not laser-records and 1"),
        ('{"format": "laser-records", "version": 1}\n{"trace": {}}\n', ":2: is no record of a calibration"),
    ],
)
def test_a_file_that_is_no_record_is_named_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(text)
    with pytest.raises(TraceError, match=said):
        read_records(path)
    with pytest.raises(TraceError, match="does not exist"):
        read_records(tmp_path / "nowhere")


# --- the solver


def situation(number: int) -> SolveRequest:
    settings = SettingsFile(None, 2).settings
    load = Controller(
        PROFILE, settings=SettingsFile(None, 2), solver=PunctualSolver(_no_plan, VirtualClock(), 1.0)
    ).status.estimate.load
    return SolveRequest(
        number=number,
        time_s=0.0,
        load=load,
        plant=PROFILE.plant_model(),
        objective=settings.objective,
        rows=settings.rows,
    )


def _no_plan(situation: SolveRequest) -> Plan:
    raise ArithmeticError(f"no plan for {situation.number}")


def test_a_punctual_solver_answers_after_its_delay_and_forgets_all_but_the_latest() -> None:
    clock = VirtualClock()
    solver = PunctualSolver(_no_plan, clock, 2.0)
    assert solver.answer() is None
    for number in (1, 2, 3):
        solver.ask(situation(number))
    clock.now = 1.9
    assert solver.answer() is None
    clock.now = 2.0
    assert str(solver.answer()) == "no plan for 1"
    clock.now = 3.9
    assert solver.answer() is None
    clock.now = 4.0
    assert str(solver.answer()) == "no plan for 3"
    clock.now = 99.0
    assert solver.answer() is None


def test_a_margin_is_refused_since_none_was_recorded(recorded: Recorded) -> None:
    known = recorded.recording
    spec = ProbeSpec(
        suffix=(1,),
        max_answer_tokens=1,
        answer_stops=frozenset(),
        read=frozenset({MARGIN}),
        watched=recorded.chat.thinking.close_id,
    )
    with pytest.raises(EngineError, match="reads margin, must read nothing besides: answers alone were recorded"):
        known.model.answer(known.questions[0].prompt, (1,), spec)
