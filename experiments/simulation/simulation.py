"""Simulates a service in virtual time: the serving loop, its policy and its observer on a simulated engine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from controller.controller import Controller
from controller.planning.plan import Plan, SolveRequest
from controller.planning.planner import Planner
from controller.policies.definition import PolicyContext
from controller.policy import LoadObserver, MemoryObserver, Policy, keeper_of
from controller.serving.admission import AdmissionLimits
from controller.serving.fair_queue import Claim
from controller.serving.loop import ServingLoop
from controller.serving.ordering.turns import ServingOrder
from controller.serving.reply import Channel, Delta
from controller.serving.request import Outcome, ReasoningRequest
from controller.settings import SettingsSource
from engine.base import FinishReason, Sampling
from engine.simulated.engine import SimulatedEngine
from engine.simulated.growing import GrowingEngine
from engine.simulated.machine import Machine, SkippingClock, VirtualClock
from experiments.calibration.traces import TraceError
from experiments.request_record import RequestRecord
from experiments.simulation.recorded_model import RecordedThought
from experiments.simulation.recording import RecordedQuestion, Recording
from experiments.simulation.sampled_thoughts import marked
from models.kinds.kind import AnswerForm, AnswerKind
from models.profile.profile import Profile
from models.tokenizer import Decoder, Streamed

PULSE_S = 0.1  # longest time between two ticks of an observer; the controller looks up limits every 0.5 s
IDLE_S = 0.5  # the same while no request runs, as in the server
SOLVE_S = 0.15  # virtual seconds from a solve request to its answer


def simulate(
    recording: Recording,
    arrivals: npt.NDArray[np.float64],
    questions: Sequence[int],
    *,
    machine: Machine,
    clock: VirtualClock,
    policy: Policy,
    observer: LoadObserver | None = None,
    order: ServingOrder | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> list[RequestRecord]:
    """Asks the recording's question `questions[i]` at `arrivals[i]`, s, sorted; returns records in order of arrival.

    Policy and observer must read the same `clock`, which must not be past the first arrival. `observer` None: the
    policy needs none; `order` None: first come, first served.
    """
    loop = serving_loop(recording, machine=machine, clock=clock, policy=policy, observer=observer, order=order)
    return serve(recording, arrivals, questions, loop=loop, clock=clock, on_done=on_done)


def serving_loop(
    recording: Recording,
    *,
    machine: Machine,
    clock: VirtualClock,
    policy: Policy,
    observer: LoadObserver | None = None,
    order: ServingOrder | None = None,
) -> ServingLoop:
    """Returns the serving loop of a recorded model on a simulated engine; the arguments are those of `simulate`."""
    unmarked = recording.model.unmarked
    engine = (GrowingEngine if machine.growing else SimulatedEngine)(
        recording.model,
        machine,
        clock,
        budget=lambda name: policy.limits(name).budget,
        marks=() if keeper_of(policy) is None else recording.model.budgets,
        classes={question.prompt: question.difficulty for question in recording.questions},
        pulse_s=math.inf if observer is None else PULSE_S,
        stepped=None if observer is None else observer.stepped,
        samples=unmarked is not None,
    )
    return ServingLoop(
        engine=engine,
        tokenizer=Letters(recording.decoder) if unmarked is None else AnswerLetters(recording.decoder, unmarked),
        thinking=recording.thinking,
        policy=policy,
        stop_tokens=recording.stop_tokens,
        clock=clock,
        score=recording.score,
        observer=None if observer is None else _Untimed(observer),
        admission=AdmissionLimits(slots=machine.max_batch),
        order=order,
    )


def serve(
    recording: Recording,
    arrivals: npt.NDArray[np.float64],
    questions: Sequence[int],
    *,
    loop: ServingLoop,
    clock: SkippingClock,
    on_done: Callable[[], None] = lambda: None,
) -> list[RequestRecord]:
    """Does the same on a loop of any engine, on its clock; grades answers by the recording, not by their text.

    Raises ValueError if `arrivals` and `questions` differ in length.
    """
    asking = RecordedArrivals(recording, loop, clock, on_done)
    asking.ask(arrivals, questions)
    return asking.rest()


class RecordedArrivals:
    """Asks a loop recorded questions, piece by piece, and keeps a record of each reply."""

    def __init__(
        self,
        recording: Recording,
        loop: ServingLoop,
        clock: SkippingClock,
        on_done: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_done` is called when a reply has ended."""
        self._recording = recording
        self._loop = loop
        self._clock = clock
        self._on_done = on_done
        self._records: dict[int, RequestRecord] = {}
        self._asked = 0

    def ask(self, arrivals: npt.NDArray[np.float64], questions: Sequence[int], *, until: float = math.inf) -> None:
        """Asks question `questions[i]` at `arrivals[i]`, s, sorted and later than what was asked before.

        Returns once the last has been asked. `until`: time of the next piece, s. Raises ValueError if the two differ
        in length.
        """
        if len(arrivals) != len(questions):
            raise ValueError(f"there are {len(questions)} questions, must be {len(arrivals)}: one for each arrival")
        loop, clock, times, coming = self._loop, self._clock, arrivals.tolist(), 0
        while coming < len(times):
            if not loop.busy:
                _rest(loop, clock, times[coming])
            while coming < len(times) and times[coming] <= clock():
                self._submit(self._recording.questions[questions[coming]], times[coming])
                coming += 1
            clock.alarm = times[coming] if coming < len(times) else until
            loop.tick()

    def rest(self) -> list[RequestRecord]:
        """Waits for the replies that are still to come; returns all records in order of arrival."""
        self._clock.alarm = math.inf
        while self._loop.busy:
            self._loop.tick()
        return [self._records[number] for number in range(self._asked)]

    def _submit(self, question: RecordedQuestion, at_s: float) -> None:
        listener = _Listener(
            number=self._asked,
            question=question,
            thought=self._recording.model.thoughts[question.number],
            at_s=at_s,
            submitted_s=self._clock(),
            clock=self._clock,
            keep=self._keep,
        )
        request = ReasoningRequest(
            prompt=question.prompt,
            max_tokens=self._recording.max_tokens,
            difficulty=question.difficulty,
            ease=question.ease,
            claim=Claim(length=question.expected_tokens),
            answer=AnswerKind.SHORT,
            form=AnswerForm.BOX,
            sampling=Sampling(seed=self._asked),  # of rivals alone: the request is greedy
        )
        self._loop.submit(request, listener)
        self._asked += 1

    def _keep(self, record: RequestRecord) -> None:
        self._records[record.number] = record
        self._on_done()


def _rest(loop: ServingLoop, clock: SkippingClock, until: float) -> None:
    """Skips to `until` while nothing runs; the loop ticks its observer on the way."""
    while loop.observed and clock() + IDLE_S < until:
        clock.skip(clock() + IDLE_S)
        loop.idle()
    clock.skip(until)


def check_budget(budget: int | None, profile: Profile, told: str = "budget is") -> None:
    """Raises TraceError if calibration recorded no closings at this budget; None: no budget, always accepted."""
    if budget is not None and budget not in profile.budgets:
        recorded = ", ".join(str(other) for other in profile.budgets if other is not None)
        raise TraceError(
            f"{told} {budget}, must be one of {recorded}: what follows a thought that is closed elsewhere was not "
            "recorded"
        )


@dataclass(slots=True, kw_only=True)
class _Listener:
    """Receives one request's reply from the loop, and writes its record."""

    number: int
    question: RecordedQuestion
    thought: RecordedThought
    at_s: float
    submitted_s: float
    clock: SkippingClock
    keep: Callable[[RequestRecord], None]
    answered_s: float | None = None  # time of the first token of the answer; None: not yet
    text: str = ""  # of the answer

    def __call__(self, item: Delta | Outcome) -> None:
        if isinstance(item, Outcome):
            self.keep(self._record(item))
        elif item.channel is Channel.CONTENT:
            self.text += item.text
            if self.answered_s is None:
                self.answered_s = self.clock()

    def _record(self, outcome: Outcome) -> RequestRecord:
        thought, question = outcome.thought, self.question
        failed = outcome.finish_reason is FinishReason.ERROR
        return RequestRecord(
            number=self.number,
            question=question.number,
            benchmark=question.benchmark,
            split=question.split,
            difficulty=question.difficulty,
            at_s=self.at_s,
            queue_s=self.submitted_s - self.at_s + outcome.queue_s,
            first_answer_s=None if self.answered_s is None else self.answered_s - self.at_s,
            latency_s=self.clock() - self.at_s,
            thought_tokens=thought.tokens,
            completion_tokens=outcome.completion_tokens,
            rows=outcome.rows,
            probes=thought.probes,
            probe_rows=thought.probe_rows,
            exit_reason=None if thought.exit_reason is None else str(thought.exit_reason),
            threshold=thought.threshold,
            budget=thought.budget,
            right=None if failed else self._right(outcome),
            error=outcome.error,
        )

    def _right(self, outcome: Outcome) -> bool:
        raced = self.thought.right_reply(self.text) if outcome.width > 1 else None
        return self.thought.right(outcome.thought) if raced is None else raced


@dataclass(frozen=True, slots=True)
class _Untimed:
    """Wraps an observer so that only the engine reports steps to it.

    A step of the simulated engine holds many decode steps, which the loop cannot time.
    """

    observer: LoadObserver

    def arrived(self, difficulty: str | None) -> None:
        self.observer.arrived(difficulty)

    def finished(self, difficulty: str | None, tokens: int) -> None:
        self.observer.finished(difficulty, tokens)

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        """Ignores the loop's report: the engine reports the step."""

    def tick(self, now: float, in_system: int) -> None:
        self.observer.tick(now, in_system)

    @property
    def plans_memory(self) -> bool:
        return isinstance(self.observer, MemoryObserver) and self.observer.plans_memory

    def held(self, cells: int, of: int, sequences: int, *, growing: bool) -> None:
        assert isinstance(self.observer, MemoryObserver)
        self.observer.held(cells, of, sequences, growing=growing)


def punctual_controller(
    profile: Profile, settings: SettingsSource, *, clock: VirtualClock, max_batch: int, delay_s: float = SOLVE_S
) -> Controller:
    """Returns the real controller, whose real solver takes `delay_s` of virtual time."""
    planner = Planner(profile.tables(), clock=time.perf_counter)  # real solve times are only displayed
    solver = PunctualSolver(solve=planner, clock=clock, delay_s=delay_s)
    return Controller(profile, settings=settings, solver=solver, max_batch=max_batch)


def simulated_context(
    profile: Profile,
    settings: Callable[[Profile], SettingsSource],
    *,
    machine: Machine,
    clock: VirtualClock,
    delay_s: float = SOLVE_S,
) -> PolicyContext:
    """Returns what a policy is made with for a simulation; `settings`: of a controller, by its profile."""
    return PolicyContext(
        profile=profile,
        max_batch=machine.max_batch,
        controller=lambda usable: punctual_controller(
            usable, settings(usable), clock=clock, max_batch=machine.max_batch, delay_s=delay_s
        ),
    )


@dataclass(frozen=True, slots=True)
class Letters:
    """Decodes each token of a streamed reply to one letter: no one reads the replies, and real decoding is slowest."""

    decoder: Decoder

    def decode(self, tokens: Sequence[int]) -> str:
        return self.decoder.decode(tokens)

    def stream(self, before: Sequence[int] = ()) -> Streamed:
        return _Letter()


@dataclass(frozen=True, slots=True)
class AnswerLetters:
    """Decodes tokens of a streamed reply to letters of their own, unmarked ones to none: races tell answers apart."""

    decoder: Decoder
    unmarked: frozenset[int]

    def decode(self, tokens: Sequence[int]) -> str:
        return self.decoder.decode(tokens)

    def stream(self, before: Sequence[int] = ()) -> Streamed:
        return _Mark(self.unmarked)


@dataclass(frozen=True, slots=True)
class _Mark:
    unmarked: frozenset[int]

    def push(self, token: int) -> str:
        return "" if token in self.unmarked else marked(token)

    def rest(self) -> str:
        return ""


class _Letter:
    def push(self, token: int) -> str:
        return "x"

    def rest(self) -> str:
        return ""


@dataclass(slots=True)
class PunctualSolver:
    """A `controller.planning.plan.Solver` whose answers come `delay_s` later on the virtual clock."""

    solve: Callable[[SolveRequest], Plan]
    clock: VirtualClock
    delay_s: float
    _solving: tuple[float, SolveRequest] | None = field(default=None, init=False)  # due time, request; None: idle
    _waiting: SolveRequest | None = field(default=None, init=False)  # asked meanwhile; None: no request

    def ask(self, situation: SolveRequest) -> None:
        if self._solving is None:
            self._solving = self.clock.now + self.delay_s, situation
        else:
            self._waiting = situation  # replaces an older waiting request

    def answer(self) -> Plan | Exception | None:
        if self._solving is None or self.clock.now < self._solving[0]:
            return None
        (_, situation), self._solving = self._solving, None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self.ask(waiting)
        try:
            return self.solve(situation)
        except Exception as error:  # returned as an answer, as the threaded solver does
            return error
