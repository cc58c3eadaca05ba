"""What every engine of this house keeps the same way: ids, the waiting, the running, and the guards before each call.

An engine derives from `BaseEngine`, decodes in `step`, and says what differs in the abstract methods: how a probe
starts, how a sequence goes on, and what is freed. One that computes its tokens with a model derives from
`engine.decoding.DecodingEngine`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Generic, Protocol, TypeVar

from engine.base import (
    Capabilities,
    EngineBrokenError,
    EngineLoad,
    Event,
    Finished,
    FinishReason,
    ProbeId,
    ProbeSpec,
    Request,
    SequenceError,
    SequenceId,
    Tokens,
)
from engine.checks import (
    DecodingSequence,
    Named,
    check_adoption,
    check_asked,
    check_ban,
    check_fork,
    check_request,
    check_room,
    check_tokens,
)
from engine.constraint import Constraint


class RunningProbe(Named, Protocol):
    """The part of a probe that is the same for all engines."""

    @property
    def fork_at(self) -> int: ...  # tokens of its sequence, prompt included, that the probe continues
    @property
    def path(self) -> Sequence[int]: ...  # suffix, answer, terminator


class RunningSequence(DecodingSequence, Protocol):
    """The part of an admitted sequence that is the same for all engines."""

    stops_armed: bool
    banned: frozenset[int]
    constraint: Constraint | None
    unannounced: list[int]  # forced or adopted tokens that are still to be reported

    @property
    def probe(self) -> RunningProbe | None: ...


S = TypeVar("S", bound=RunningSequence)


class BaseEngine(ABC, Generic[S]):
    """Implements the bookkeeping of `engine.base.Engine`; `vocabulary` is the number of the model's token ids."""

    NOT_DECODING = "it is unknown, waiting, in prefill, paused, or has ended"

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._ids = count(1)
        self._waiting: dict[SequenceId, Request] = {}  # in order of arrival
        self._running: dict[SequenceId, S] = {}  # in order of arrival
        self._paused: dict[SequenceId, S] = {}
        self._resuming: dict[SequenceId, None] = {}  # of the paused, those that go on once there is a place, in turn

    @property
    @abstractmethod
    def max_tokens(self) -> int: ...

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities: ...

    @abstractmethod
    def step(self) -> list[Event]: ...

    @abstractmethod
    def _is_decoding(self, state: S) -> bool:
        """Whether the sequence can be forked and forced now."""

    @abstractmethod
    def _start_probe(self, state: S, probe: ProbeId, spec: ProbeSpec, fork_at: int) -> None:
        """Start a probe on the sequence's first `fork_at` tokens."""

    @abstractmethod
    def _has_answer(self, state: S) -> bool:
        """Whether the sequence has a probe and the probe has ended."""

    @abstractmethod
    def _probe_rows(self, state: S) -> int:
        """The token rows that the sequence's probe has cost."""

    @abstractmethod
    def _lapse(self, state: S) -> None:
        """End the sequence's probe, if there is one, and free what it held."""

    @abstractmethod
    def _adopt(self, state: S, keep: int, then: Sequence[int]) -> None:
        """Continue with the first `keep` tokens of the ended probe's path, and `then`; they are unannounced."""

    @abstractmethod
    def _append(self, state: S, tokens: Sequence[int]) -> None:
        """Continue with `tokens`; they are unannounced. The sequence has no probe."""

    @abstractmethod
    def _release(self, state: S) -> None:
        """Free what a sequence held that is not running any more."""

    @abstractmethod
    def _cells(self) -> tuple[int, int]:
        """The cells of KV cache that are reserved, and all there are."""

    def submit(self, request: Request, *, like: SequenceId | None = None) -> SequenceId:
        check_request(request, max_tokens=self.max_tokens, vocabulary=self._vocabulary)
        check_asked(request, self.capabilities)
        self._check_ban(request.banned, request)
        alike = None if like is None else self._request(like)
        if alike is not None and alike.prompt != request.prompt:
            raise SequenceError(f"the prompt must be that of sequence {like}, and is another")
        sequence = SequenceId(next(self._ids))
        self._waiting[sequence] = request
        return sequence

    def fork(self, sequence: SequenceId, spec: ProbeSpec, *, back: int = 0) -> ProbeId:
        state = self._decoding(sequence)
        if self._has_answer(state):
            self._lapse(state)
        check_fork(state, spec, back=back, vocabulary=self._vocabulary)
        if back:
            self.capabilities.need("trim", f"back is {back}, must be 0")
        if spec.constraint is not None:
            self.capabilities.need("constraints", "a probe has a constraint, must have none")
        probe = ProbeId(next(self._ids))
        self._start_probe(state, probe, spec, len(state.request.prompt) + state.new_tokens - back)
        return probe

    def adopt(self, probe: ProbeId, *, keep: int, then: Sequence[int] = ()) -> None:
        state = self._probed(probe)
        if state is None or state.probe is None or not self._has_answer(state):
            raise SequenceError(f"probe {probe} is unknown, still running, or has lapsed")
        after = state.probe.fork_at - len(state.request.prompt)
        check_adoption(state, state.probe.path, keep, then, after=after, vocabulary=self._vocabulary)
        self._adopt(state, keep, then)

    def drop(self, probe: ProbeId) -> int:
        state = self._probed(probe)
        if state is None:
            return 0
        rows = self._probe_rows(state)
        self._lapse(state)
        return rows

    def force(self, sequence: SequenceId, tokens: Sequence[int]) -> None:
        state = self._decoding(sequence)
        check_tokens(tokens, "what is forced", self._vocabulary)
        check_room(state, state.new_tokens + len(tokens))
        self._lapse(state)
        self._append(state, tokens)

    def pause(self, sequence: SequenceId) -> None:
        self.capabilities.need("pausing", f"sequence {sequence} is to pause")
        if sequence in self._paused:
            self._resuming.pop(sequence, None)
            return
        state = self._running.get(sequence)
        if state is None or not self._can_pause(state):
            raise SequenceError(f"sequence {sequence} is not decoding: {self.NOT_DECODING}")
        if state.probe is not None and not self._has_answer(state):
            raise SequenceError(f"sequence {sequence} has a running probe, must have none to pause")
        self._lapse(state)
        self._paused[sequence] = self._running.pop(sequence)
        self._set_aside(state)

    def resume(self, sequence: SequenceId) -> None:
        if sequence in self._paused:
            self._resuming[sequence] = None

    def _can_pause(self, state: S) -> bool:
        """Whether the sequence can leave the batch now."""
        return self._is_decoding(state) and not state.unannounced

    def _set_aside(self, state: S) -> None:
        """Is called once a sequence has been paused."""

    def _take_up(self, state: S) -> None:
        """Is called once a paused sequence runs again."""

    def _go_on(self, max_batch: int) -> None:
        """Has resumed sequences run again, as far as the batch has a place for them."""
        while self._resuming and len(self._running) < max_batch:
            sequence = next(iter(self._resuming))
            del self._resuming[sequence]
            self._running[sequence] = state = self._paused.pop(sequence)
            self._take_up(state)

    def _held(self, sequence: SequenceId) -> S | None:
        """Returns a sequence that runs or is paused; None: it is neither."""
        return self._running.get(sequence) or self._paused.get(sequence)

    def arm_stops(self, sequence: SequenceId) -> None:
        state = self._held(sequence)
        if state is not None:
            state.stops_armed = True
        elif sequence in self._waiting:
            self._waiting[sequence] = replace(self._waiting[sequence], stops_armed=True)

    def ban(self, sequence: SequenceId, tokens: frozenset[int]) -> None:
        state = self._held(sequence)
        if state is not None:
            self._check_ban(tokens, state.request)
            state.banned = tokens
        elif sequence in self._waiting:
            self._check_ban(tokens, self._waiting[sequence])
            self._waiting[sequence] = replace(self._waiting[sequence], banned=tokens)

    def _check_ban(self, tokens: frozenset[int], request: Request) -> None:
        if tokens:
            self.capabilities.need("masks", f"{len(tokens)} tokens are banned, must be 0")
            check_ban(tokens, request, self._vocabulary)

    def constrain(self, sequence: SequenceId, constraint: Constraint | None) -> None:
        if constraint is not None:
            self.capabilities.need("constraints", f"sequence {sequence} has a constraint, must have none")
        state = self._held(sequence)
        if state is not None:
            state.constraint = constraint
        elif sequence in self._waiting:
            self._waiting[sequence] = replace(self._waiting[sequence], constraint=constraint)

    def _request(self, sequence: SequenceId) -> Request | None:
        """Returns the request of a sequence; None: it is unknown or has ended."""
        state = self._held(sequence)
        return self._waiting.get(sequence) if state is None else state.request

    def cancel(self, sequence: SequenceId) -> None:
        self._waiting.pop(sequence, None)
        self._resuming.pop(sequence, None)
        state = self._running.pop(sequence, None) or self._paused.pop(sequence, None)
        if state is not None:
            self._release(state)

    def load(self) -> EngineLoad:
        reserved, total = self._cells()
        return EngineLoad(
            running=len(self._running),
            waiting=len(self._waiting),
            probing=self._probes_running(),
            cells_reserved=reserved,
            cells_total=total,
            paused=len(self._paused),
        )

    def _probes_running(self) -> int:
        return sum(state.probe is not None and not self._has_answer(state) for state in self._running.values())

    def _settle(self, events: list[Event]) -> None:
        """Lapse ended probes that were not adopted; report the tokens forced or adopted since the last step."""
        for state in self._unsettled():
            if state.probe is not None and self._has_answer(state):
                self._lapse(state)
            if state.unannounced:
                events.append(self._announced(state))
                state.unannounced = []
                self._finish_if_full(state, events)

    def _announced(self, state: S) -> Tokens:
        """Returns the event that reports the sequence's unannounced tokens."""
        return Tokens(sequence=state.id, tokens=tuple(state.unannounced), forced=True)

    def _unsettled(self) -> Iterable[S]:
        """The running sequences that may have something to settle."""
        return list(self._running.values())

    def _finish_if_full(self, state: S, events: list[Event], sampled: int | None = None) -> bool:
        """End the sequence, and return True, if it has just sampled a stop token or has reached `max_new_tokens`."""
        if sampled is not None and sampled in state.request.stop_tokens:
            reason = FinishReason.STOP
        elif state.new_tokens >= state.request.max_new_tokens:
            reason = FinishReason.LENGTH
        else:
            return False
        self.cancel(state.id)
        events.append(Finished(sequence=state.id, reason=reason))
        return True

    def _probed(self, probe: ProbeId) -> S | None:
        return next((s for s in self._running.values() if s.probe is not None and s.probe.id == probe), None)

    def _decoding(self, sequence: SequenceId) -> S:
        state = self._running.get(sequence)
        if state is None or not self._is_decoding(state):
            raise SequenceError(f"sequence {sequence} is not decoding: {self.NOT_DECODING}")
        return state


@contextmanager
def starting_over(start_over: Callable[[Exception], None]) -> Iterator[None]:
    """Has an engine start over where the block fails, and raises on; EngineBrokenError if that fails, too."""
    try:
        yield
    except Exception as error:
        try:
            start_over(error)
        except Exception as worse:
            raise EngineBrokenError(f"{error}; and it cannot start over: {worse}") from error
        raise
