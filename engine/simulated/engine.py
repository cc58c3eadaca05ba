"""The simulator: an engine on a virtual clock, whose model's output is known and whose passes take given times.

Every decoding sequence gets one token per pass, so nothing happens until a sequence ends, must be looked at or has its
probe answered, or until an event arrives from outside: one step covers all passes up to that point. k passes with an
unchanged batch of b sequences and S cached tokens in all take k·(a + c·b + g·S) + g·b·k(k−1)/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count

from engine.base import (
    EngineError,
    EngineLoad,
    Event,
    Finished,
    FinishReason,
    ProbeId,
    ProbeSpec,
    Request,
    SequenceError,
    SequenceId,
    Started,
    Tokens,
)
from engine.checks import check_adoption, check_fork, check_request, check_room, check_tokens
from engine.simulated.calendar import Calendar
from engine.simulated.machine import Machine, Stepped, VirtualClock, passes_within
from engine.simulated.model import Course, SimulatedModel
from engine.simulated.sequence import SimulatedProbe, SimulatedSequence, drawn


class SimulatedEngine:
    """Implements `engine.base.Engine`; decoding is greedy.

    To look at a sequence is to report its tokens, so that the caller can act. The engine looks at a sequence at its
    `Course.looks`. `budget` returns the budget of a difficulty class in tokens (None: unlimited); the engine also
    looks at a sequence as soon as its class's budget is spent, or is lowered below the sequence's new tokens.
    `stepped` is called for each pass that only decoded: a step covers many passes, so the loop cannot time them.
    """

    def __init__(
        self,
        model: SimulatedModel,
        machine: Machine,
        clock: VirtualClock,
        *,
        budget: Callable[[str | None], int | None] | None = None,  # None: no class has a budget
        classes: Mapping[tuple[int, ...], str | None] | None = None,  # class by prompt; None: no classes
        pulse_s: float = math.inf,  # longest step, so that an observer sees time pass
        stepped: Stepped | None = None,  # None: nothing is called
    ) -> None:
        self._model = model
        self._machine = machine
        self._clock = clock
        self._budget = budget
        self._classes = classes or {}
        self._known = tuple({None, *self._classes.values()})
        self._budgets: dict[str | None, int | None] = {}
        self._pulse_s = pulse_s
        self._stepped = stepped
        self._ids = count(1)
        self._waiting: dict[SequenceId, Request] = {}  # in order of arrival
        self._running: dict[SequenceId, SimulatedSequence] = {}
        self._prefilling: dict[SequenceId, SimulatedSequence] = {}
        self._probed: dict[ProbeId, SimulatedSequence] = {}
        self._undecided: list[SimulatedSequence] = []  # sequences whose probes ended in the last step
        self._steered: list[SimulatedSequence] = []  # sequences with tokens forced or adopted since the last step
        self._calendar = Calendar()
        self._passed = 0  # passes so far
        self._probing = 0
        self._cached = 0  # cached tokens of all decoding sequences
        self._reserved = 0
        self._extra_s = 0.0  # time that the next pass takes beyond the passes after it

    @property
    def max_tokens(self) -> int:
        return min(self._machine.cells, self._model.max_tokens)

    def submit(self, request: Request) -> SequenceId:
        check_request(request, max_tokens=self.max_tokens, vocabulary=self._model.vocabulary)
        if request.sampling.temperature > 0.0:
            raise EngineError(f"temperature is {request.sampling.temperature}, must be 0: nothing is drawn here")
        sequence = SequenceId(next(self._ids))
        self._waiting[sequence] = request
        return sequence

    def fork(self, sequence: SequenceId, spec: ProbeSpec, *, back: int = 0) -> ProbeId:
        state = self._decoding(sequence)
        if state.probe is not None and state.probe.due <= self._passed:
            self._lapse(state)
        check_fork(state, spec, back=back, vocabulary=self._model.vocabulary)
        fork_at = len(state.said) - back
        trial = self._model.answer(state.request.prompt, state.said[:fork_at], spec)
        tokens, gave_up = drawn(trial, spec)
        probe = SimulatedProbe(
            id=ProbeId(next(self._ids)),
            spec=spec,
            trial=trial,
            fork_at=fork_at,
            forked=self._passed,
            drawn=tokens,
            gave_up=gave_up,
        )
        state.probe = probe
        self._probed[probe.id] = state
        self._probing += 1
        self._extra_s += self._suffix_s(probe)
        self._enter(state)
        return probe.id

    def adopt(self, probe: ProbeId, *, keep: int, then: Sequence[int] = ()) -> None:
        state = self._probed.get(probe)
        if state is None or state.probe is None or state.probe.due > self._passed:
            raise SequenceError(f"probe {probe} is unknown, still running, or has lapsed")
        path, fork_at = state.probe.path, state.probe.fork_at
        check_adoption(state, path, keep, then, after=fork_at, vocabulary=self._model.vocabulary)
        self._lapse(state)
        self._extra_s += len(then) * self._machine.prefill_s
        self._steer(state, fork_at, (*path[:keep], *then))

    def drop(self, probe: ProbeId) -> int:
        state = self._probed.get(probe)
        if state is None or state.probe is None:
            return 0
        rows = state.probe.rows(self._passed)
        self._lapse(state)
        self._enter(state)
        return rows

    def force(self, sequence: SequenceId, tokens: Sequence[int]) -> None:
        state = self._decoding(sequence)
        check_tokens(tokens, "what is forced", self._model.vocabulary)
        check_room(state, state.new_tokens + len(tokens))
        self._lapse(state)
        self._extra_s += len(tokens) * self._machine.prefill_s
        self._steer(state, len(state.said), tuple(tokens))

    def arm_stops(self, sequence: SequenceId) -> None:
        if sequence in self._waiting:
            self._waiting[sequence] = replace(self._waiting[sequence], stops_armed=True)
            return
        state = self._running.get(sequence)
        if state is None or state.armed:
            return
        state.armed = True
        if state.course.until_armed:
            untold = state.untold(self._passed)
            rest = self._follow(state, [*state.said, *untold])
            looks = tuple(len(untold) + look for look in rest.looks)
            state.course, state.start, state.looked = (
                Course(tokens=untold + rest.tokens, looks=looks),
                len(state.said),
                0,
            )
            self._enter(state)

    def cancel(self, sequence: SequenceId) -> None:
        self._waiting.pop(sequence, None)
        state = self._running.pop(sequence, None)
        if state is None:
            return
        self._calendar.forget(sequence)
        self._lapse(state)
        self._reserved -= state.cells
        if self._prefilling.pop(sequence, None) is None:
            self._cached -= len(state.request.prompt) + self._passed - state.zero

    def load(self) -> EngineLoad:
        return EngineLoad(
            running=len(self._running),
            waiting=len(self._waiting),
            probing=self._probing,
            cells_reserved=self._reserved,
            cells_total=self._machine.cells,
        )

    def step(self) -> list[Event]:
        events: list[Event] = []
        self._settle(events)
        self._admit(events)
        self._heed_budgets()
        if self._running:
            chunk, prefilled = self._prefill()
            self._advance(chunk, len(prefilled))
            for state in prefilled:
                self._begin(state)
            self._tell(events)
        return events

    def _settle(self, events: list[Event]) -> None:
        """Lapse ended probes that were not adopted; report the tokens forced or adopted since the last step."""
        for state in self._undecided:
            if state.probe is not None and state.probe.due <= self._passed:
                self._lapse(state)
        self._undecided.clear()
        for state in sorted(self._steered, key=lambda state: state.id):
            if state.id in self._running:
                events.append(Tokens(sequence=state.id, tokens=state.forced, forced=True))
                state.forced = ()
                if len(state.said) >= state.request.max_new_tokens:
                    self._finish(state, FinishReason.LENGTH, events)
        self._steered.clear()

    def _admit(self, events: list[Event]) -> None:
        while self._waiting and len(self._running) < self._machine.max_batch:
            sequence, request = next(iter(self._waiting.items()))
            state = SimulatedSequence(
                id=sequence,
                request=request,
                difficulty=self._classes.get(request.prompt),
                armed=request.stops_armed,
                prefill=len(request.prompt),
            )
            if self._reserved + state.cells > self._machine.cells:
                return
            del self._waiting[sequence]
            self._reserved += state.cells
            self._running[sequence] = self._prefilling[sequence] = state
            events.append(Started(sequence=sequence))

    def _heed_budgets(self) -> None:
        """Reschedule decoding sequences if budgets have changed; those over budget are due after the next pass."""
        if self._budget is None:
            return
        budgets = {name: self._budget(name) for name in self._known}
        if budgets == self._budgets:
            return
        self._budgets = budgets
        for state in self._running.values():
            if not state.prefill:
                budget = budgets[state.difficulty]
                over = budget is not None and budget <= self._passed - state.zero and not state.steered
                self._enter(state, at=self._passed + 1 if over else None)

    def _prefill(self) -> tuple[int, list[SimulatedSequence]]:
        """Returns the prompt tokens computed in this pass, and the sequences that get their first token in it."""
        chunk, prefilled = self._machine.prefill_chunk, []
        for state in list(self._prefilling.values()):
            part = min(state.prefill, chunk)
            state.prefill -= part
            chunk -= part
            if not state.prefill:
                del self._prefilling[state.id]
                prefilled.append(state)
            if not chunk:
                break
        return self._machine.prefill_chunk - chunk, prefilled

    def _advance(self, chunk: int, prefilled: int) -> None:
        """Advance by one pass if it contains prefill, else by as many passes as it takes until something happens."""
        machine, clock = self._machine, self._clock
        batch = len(self._running) - len(self._prefilling) - prefilled
        time = machine.step_time
        first = time.a + time.c * batch + time.g * self._cached + machine.probe_row_s * self._probing
        growth = time.g * batch
        extra = self._extra_s + machine.prefill_s * chunk
        passes = 1
        if not chunk:
            left = min(clock.alarm - clock.now, self._pulse_s)
            passes = self._calendar.next() - self._passed
            if left < math.inf:
                passes = min(passes, passes_within(left - extra, first, growth))
        assert passes >= 1, "a course has ended without a stop and before its sequence could"
        seconds = passes * first + growth * passes * (passes - 1) / 2.0
        if self._stepped is not None and batch and not chunk and not self._probing and not extra:
            for _ in range(passes):
                self._stepped(batch, self._cached / batch + (passes - 1) / 2.0, seconds / passes)
        clock.now += extra + seconds
        self._cached += batch * passes
        self._passed += passes
        self._extra_s = 0.0

    def _begin(self, state: SimulatedSequence) -> None:
        """Start decoding a sequence whose prompt and first token this pass has computed."""
        state.zero = self._passed - 1
        state.course = self._follow(state, ())
        self._cached += len(state.request.prompt) + 1
        self._enter(state, at=self._passed)

    def _tell(self, events: list[Event]) -> None:
        """Report the tokens, probes and ends of the sequences that are due."""
        for sequence in self._calendar.due(self._passed):
            state = self._running[sequence]
            tokens = state.untold(self._passed)
            answered = state.probe if state.probe is not None and state.probe.due == self._passed else None
            self._probing -= answered is not None
            if tokens:
                state.said.extend(tokens)
                events.append(Tokens(sequence=sequence, tokens=tokens))
            if tokens and tokens[-1] in state.request.stop_tokens:
                self._finish(state, FinishReason.STOP, events)
            elif len(state.said) >= state.request.max_new_tokens:
                self._finish(state, FinishReason.LENGTH, events)
            else:
                if answered is not None:
                    self._undecided.append(state)
                    events.append(answered.probed(sequence))
                self._enter(state)

    def _finish(self, state: SimulatedSequence, reason: FinishReason, events: list[Event]) -> None:
        self.cancel(state.id)
        events.append(Finished(sequence=state.id, reason=reason))

    def _follow(self, state: SimulatedSequence, said: Sequence[int]) -> Course:
        request = state.request
        return self._model.follow(
            request.prompt,
            said,
            stops=request.stop_tokens,
            armed=state.armed,
            most=request.max_new_tokens - len(said),
        )

    def _steer(self, state: SimulatedSequence, at: int, tokens: tuple[int, ...]) -> None:
        """Continue with `tokens` after the first `at` new tokens; the next pass draws the token after them."""
        self._cached += at + len(tokens) - len(state.said)
        del state.said[at:]
        state.said.extend(tokens)
        state.start, state.looked = len(state.said), 0
        state.zero = self._passed - state.start
        state.course = self._follow(state, state.said)
        state.forced, state.steered = tokens, True
        self._steered.append(state)
        self._enter(state, at=self._passed + 1)  # a longer step would report `tokens` too late

    def _lapse(self, state: SimulatedSequence) -> None:
        """End the sequence's probe, if there is one."""
        probe, state.probe = state.probe, None
        if probe is None:
            return
        del self._probed[probe.id]
        if probe.due > self._passed:
            self._probing -= 1
            if probe.forked == self._passed:
                self._extra_s -= self._suffix_s(probe)

    def _enter(self, state: SimulatedSequence, at: int | None = None) -> None:
        """Look at a sequence after pass `at`; None: after the next pass in which there is something to report."""
        budget = self._budgets.get(state.difficulty)
        self._calendar.enter(state.id, state.due(self._passed, budget) if at is None else at)

    def _suffix_s(self, probe: SimulatedProbe) -> float:
        """Seconds that the suffix takes beyond the one row that each pass computes for a probe."""
        return (len(probe.spec.suffix) - 1) * self._machine.probe_row_s

    def _decoding(self, sequence: SequenceId) -> SimulatedSequence:
        state = self._running.get(sequence)
        if state is None or not state.said or state.forced or state.untold(self._passed):
            raise SequenceError(
                f"sequence {sequence} is not decoding: it is unknown, waiting, in prefill, has ended, or has tokens "
                "that were not told of"
            )
        return state
