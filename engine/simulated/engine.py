"""The simulator: an engine on a virtual clock, whose model's output is known and whose passes take given times.

Every decoding sequence gets one token per pass, so nothing happens until a sequence ends, must be looked at or has its
probe answered, or until an event arrives from outside: one step covers all passes up to that point. k passes with an
unchanged batch of b sequences and S cached tokens in all take k·(a + c·b + g·S) + g·b·k(k−1)/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from engine.base import Capabilities, Event, ProbeId, ProbeSpec, Request, SequenceId, Started, Tokens
from engine.base_engine import BaseEngine
from engine.simulated.calendar import Calendar
from engine.simulated.machine import Machine, Stepped, VirtualClock, passes_within
from engine.simulated.model import Course, CourseRules, SimulatedModel
from engine.simulated.sequence import SimulatedProbe, SimulatedSequence, drawn


class SimulatedEngine(BaseEngine[SimulatedSequence]):
    """Implements `engine.base.Engine`; decoding is greedy. No token counts as averted: a course tells none.

    To look at a sequence is to report its tokens, so that the caller can act. The engine looks at a sequence at its
    `Course.looks`. `budget` returns the budget of a difficulty class in tokens (None: unlimited); the engine also
    looks at a sequence as soon as its class's budget is spent, or is lowered below the sequence's new tokens, and at
    `marks`, numbers of new tokens, where single sequences may have budgets of their own.
    `stepped` is called for each pass that only decoded: a step covers many passes, so the loop cannot time them.
    """

    NOT_DECODING = "it is unknown, waiting, in prefill, paused, has ended, or has tokens that were not told of"

    def __init__(
        self,
        model: SimulatedModel,
        machine: Machine,
        clock: VirtualClock,
        *,
        budget: Callable[[str | None], int | None] | None = None,  # None: no class has a budget
        marks: Sequence[int] = (),  # rising
        classes: Mapping[tuple[int, ...], str | None] | None = None,  # class by prompt; None: no classes
        pulse_s: float = math.inf,  # longest step, so that an observer sees time pass
        stepped: Stepped | None = None,  # None: nothing is called
        samples: bool = False,  # whether the model has courses of sampled sequences
    ) -> None:
        super().__init__(model.vocabulary)
        self._model = model
        self._machine = machine
        self._clock = clock
        self._budget = budget
        self._marks = marks
        self._classes = classes or {}
        self._known = tuple({None, *self._classes.values()})
        self._budgets: dict[str | None, int | None] = {}
        self._pulse_s = pulse_s
        self._stepped = stepped
        self._samples = samples
        self._likes: dict[SequenceId, SequenceId] = {}  # of waiting sequences, the one whose prompt is theirs
        self._prefilling: dict[SequenceId, SimulatedSequence] = {}
        self._by_probe: dict[ProbeId, SimulatedSequence] = {}
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

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(engine="simulated", sampling=self._samples, masks=True, batch_invariant=True, pausing=True)

    def submit(self, request: Request, *, like: SequenceId | None = None) -> SequenceId:
        sequence = super().submit(request, like=like)
        if like is not None:
            self._likes[sequence] = like
        return sequence

    def cancel(self, sequence: SequenceId) -> None:
        super().cancel(sequence)
        self._likes.pop(sequence, None)

    def drop(self, probe: ProbeId) -> int:
        state = self._probed(probe)
        rows = super().drop(probe)
        if state is not None:
            self._enter(state)
        return rows

    def arm_stops(self, sequence: SequenceId) -> None:
        state = self._held(sequence)
        follows = state is not None and not state.stops_armed and state.course.until_armed
        super().arm_stops(sequence)
        if state is not None and follows:
            self._follow_anew(state)

    def ban(self, sequence: SequenceId, tokens: frozenset[int]) -> None:
        state = self._held(sequence)
        lifted = state is not None and bool(state.banned - tokens)
        super().ban(sequence, tokens)
        if state is None or state.prefill:  # a course follows once the prompt is there
            return
        if lifted or not tokens.isdisjoint(state.rest(self._passed)):
            self._follow_anew(state)

    def _follow_anew(self, state: SimulatedSequence) -> None:
        """Replace what is left of a sequence's course."""
        untold = state.untold(self._passed)
        rest = self._follow(state, [*state.said, *untold])
        looks = tuple(len(untold) + look for look in rest.looks)
        state.course, state.start, state.looked = (
            replace(rest, tokens=untold + rest.tokens, looks=looks),
            len(state.said),
            0,
        )
        self._enter(state)

    def _is_decoding(self, state: SimulatedSequence) -> bool:
        return bool(state.said) and not state.unannounced and not state.untold(self._passed)

    def _start_probe(self, state: SimulatedSequence, probe: ProbeId, spec: ProbeSpec, fork_at: int) -> None:
        trial = self._model.answer(state.request.prompt, state.said[: fork_at - len(state.request.prompt)], spec)
        tokens, gave_up = drawn(trial, spec)
        state.probe = SimulatedProbe(
            id=probe,
            spec=spec,
            trial=trial,
            fork_at=fork_at,
            forked=self._passed,
            drawn=tokens,
            gave_up=gave_up,
        )
        self._by_probe[probe] = state
        self._probing += 1
        self._extra_s += self._suffix_s(state.probe)
        self._enter(state)

    def _has_answer(self, state: SimulatedSequence) -> bool:
        return state.probe is not None and state.probe.due <= self._passed

    def _probe_rows(self, state: SimulatedSequence) -> int:
        return 0 if state.probe is None else state.probe.rows(self._passed)

    def _lapse(self, state: SimulatedSequence) -> None:
        probe, state.probe = state.probe, None
        if probe is None:
            return
        del self._by_probe[probe.id]
        if probe.due > self._passed:
            self._probing -= 1
            if probe.forked == self._passed:
                self._extra_s -= self._suffix_s(probe)

    def _adopt(self, state: SimulatedSequence, keep: int, then: Sequence[int]) -> None:
        assert state.probe is not None
        path, at = state.probe.path, state.probe.fork_at - len(state.request.prompt)
        self._lapse(state)
        self._extra_s += len(then) * self._machine.prefill_s
        self._steer(state, at, (*path[:keep], *then))

    def _append(self, state: SimulatedSequence, tokens: Sequence[int]) -> None:
        self._extra_s += len(tokens) * self._machine.prefill_s
        self._steer(state, len(state.said), tuple(tokens))

    def _release(self, state: SimulatedSequence) -> None:
        self._calendar.forget(state.id)
        self._lapse(state)
        self._reserved -= state.request.cells
        if self._prefilling.pop(state.id, None) is None and state.kept is None:
            self._cached -= len(state.request.prompt) + self._passed - state.zero

    def _can_pause(self, state: SimulatedSequence) -> bool:
        return bool(state.said) and not state.unannounced

    def _set_aside(self, state: SimulatedSequence) -> None:
        self._calendar.forget(state.id)
        state.kept = self._passed - state.zero
        self._cached -= len(state.request.prompt) + state.kept

    def _take_up(self, state: SimulatedSequence) -> None:
        assert state.kept is not None
        self._cached += len(state.request.prompt) + state.kept
        state.zero, state.kept = self._passed - state.kept, None
        self._heed_budget(state)

    def _cells(self) -> tuple[int, int]:
        return self._reserved, self._machine.cells

    def _probes_running(self) -> int:
        return self._probing

    def _probed(self, probe: ProbeId) -> SimulatedSequence | None:
        return self._by_probe.get(probe)

    def _unsettled(self) -> list[SimulatedSequence]:
        """Those whose probe has ended, or that were steered, since the last step."""
        found = {state.id: state for state in (*self._undecided, *self._steered) if state.id in self._running}
        self._undecided.clear()
        self._steered.clear()
        return [found[sequence] for sequence in sorted(found)]

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

    def _admit(self, events: list[Event]) -> None:
        self._go_on(self._machine.max_batch)
        while self._waiting and len(self._running) < self._machine.max_batch:
            sequence, request = next(iter(self._waiting.items()))
            state = SimulatedSequence(
                id=sequence,
                request=request,
                difficulty=self._classes.get(request.prompt),
                stops_armed=request.stops_armed,
                banned=request.banned,
                # all but the last token of a prompt that another sequence has is there
                prefill=1 if self._likes.get(sequence) in self._running else len(request.prompt),
            )
            if self._reserved + state.request.cells > self._machine.cells:
                return
            del self._waiting[sequence]
            self._reserved += state.request.cells
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
                self._heed_budget(state)

    def _heed_budget(self, state: SimulatedSequence) -> None:
        budget = self._budgets.get(state.difficulty)
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
            if not self._finish_if_full(state, events, tokens[-1] if tokens else None):
                if answered is not None:
                    self._undecided.append(state)
                    events.append(answered.probed(sequence))
                self._enter(state)

    def _follow(self, state: SimulatedSequence, said: Sequence[int]) -> Course:
        request = state.request
        rules = CourseRules(
            stops=request.stop_tokens,
            armed=state.stops_armed,
            banned=state.banned,
            most=request.max_new_tokens - len(said),
            temperature=request.sampling.temperature,
            seed=request.sampling.seed,
        )
        return self._model.follow(request.prompt, said, rules)

    def _steer(self, state: SimulatedSequence, at: int, tokens: tuple[int, ...]) -> None:
        """Continue with `tokens` after the first `at` new tokens; the next pass draws the token after them."""
        self._cached += at + len(tokens) - len(state.said)
        del state.said[at:]
        state.said.extend(tokens)
        state.start, state.looked = len(state.said), 0
        state.zero = self._passed - state.start
        state.course = self._follow(state, state.said)
        state.unannounced, state.steered = list(tokens), True
        self._steered.append(state)
        self._enter(state, at=self._passed + 1)  # a longer step would report `tokens` too late

    def _enter(self, state: SimulatedSequence, at: int | None = None) -> None:
        """Look at a sequence after pass `at`; None: after the next pass in which there is something to report."""
        if state.kept is not None:
            return
        budget = self._budgets.get(state.difficulty)
        self._calendar.enter(state.id, state.due(self._passed, budget, self._marks) if at is None else at)

    def _suffix_s(self, probe: SimulatedProbe) -> float:
        """Seconds that the suffix takes beyond the one row that each pass computes for a probe."""
        return (len(probe.spec.suffix) - 1) * self._machine.probe_row_s
