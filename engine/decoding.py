"""Sequences and engines that compute their tokens with a model, whatever they compute with.

An engine derives from `DecodingEngine`, whose sequences are of `TokenSequence`; from `ComputedEngine` if it knows which
of a sequence's tokens have keys and values.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar

from engine.base import (
    Event,
    Finished,
    FinishReason,
    ProbeId,
    ProbeSpec,
    Request,
    SequenceId,
    TokenLogProbs,
    Tokens,
)
from engine.base_engine import BaseEngine
from engine.constraint import Constraint
from engine.probe import DecodedProbe
from engine.sampling.adjusting import Adjustment
from engine.sampling.choosing import ChosenToken, choose
from engine.sampling.masks import MaskedRow, MasksAhead
from engine.sampling.readout import LogitsReadout
from engine.sampling.weights import Floats
from models.errors import LaserError
from models.token_masks import unpacked

P = TypeVar("P", bound=DecodedProbe)

OVERFLOWN = "the model's numbers overflowed"
NO_TOKEN = "the constraint allows no token, and the text is not complete"


class Drawn(NamedTuple):
    """The next token of a sequence."""

    token: int
    averted: bool  # whether the model chose a banned token in its place
    log_probs: TokenLogProbs | None  # None: the request asks for none


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """Why a sequence can go on by no token."""

    reason: FinishReason
    error: str | None = None  # None: its text is complete


@dataclass(slots=True, kw_only=True, eq=False)
class TokenSequence(Generic[P]):
    """An admitted sequence of an engine that computes its tokens with a model."""

    id: SequenceId
    request: Request
    tokens: list[int]  # prompt and new ones
    stops_armed: bool
    banned: frozenset[int]
    constraint: Constraint | None
    masks: MasksAhead
    adjustment: Adjustment | None = field(init=False)  # None: the sampler sees the model's own logits
    probe: P | None = None  # None: not being probed
    unannounced: list[int] = field(default_factory=list)  # forced or adopted tokens that are still to be reported
    told: list[TokenLogProbs | None] = field(default_factory=list)  # of `unannounced`, see `engine.base.Tokens`

    def __post_init__(self) -> None:
        sampling = self.request.sampling
        self.adjustment = Adjustment(sampling, self.request.prompt) if sampling.adjusts else None

    @property
    def new_tokens(self) -> int:
        return len(self.tokens) - len(self.request.prompt)

    @property
    def decoding(self) -> bool:
        """Whether the sequence can be forked and forced now."""
        return self.new_tokens > 0 and not self.unannounced

    def draw(self, logits: Floats, best: int, held: MaskedRow | None = None) -> Drawn | Stuck:
        """Returns the next token by raw `logits` (vocabulary,), whose argmax is `best`; its constraint accepts it.

        `held`: the logits under the constraint's mask, if they are there.
        """
        if self._takes(best):
            return Drawn(token=best, averted=False, log_probs=None)
        readout = LogitsReadout(logits, best)
        try:
            choice = self._choice(readout, held)
            if choice is not None and self.constraint is not None:
                self.constraint.accept(choice.token)
        except LaserError as error:
            return Stuck(reason=FinishReason.ERROR, error=f"the constraint failed: {error}")
        if choice is None:
            complete = self.constraint is not None and self.constraint.complete
            if complete:
                return Stuck(reason=FinishReason.STOP)
            return Stuck(reason=FinishReason.ERROR, error=NO_TOKEN)
        asked = self.request.log_probs
        told = None if asked is None else readout.told(choice.token, asked)
        return Drawn(token=choice.token, averted=choice.averted, log_probs=told)

    def _takes(self, best: int) -> bool:
        """Whether the likeliest token is the next one, whatever else the row says."""
        request = self.request
        return (
            request.sampling.temperature == 0.0
            and self.constraint is None
            and self.adjustment is None
            and request.log_probs is None
            and best not in self.banned
            and (self.stops_armed or best not in request.stop_tokens)
        )

    def _choice(self, readout: LogitsReadout, held: MaskedRow | None) -> ChosenToken | None:
        scores, best = readout.logits, readout.best
        if held is None and self.constraint is not None:
            held = MaskedRow(unpacked(self.masks.of(self.constraint), scores.size))
        if self.adjustment is not None:
            scores = self.adjustment(scores, self.tokens)
            best, held = int(scores.argmax()), held and MaskedRow(held.allowed)
        return choose(
            scores,
            best,
            self.request.sampling,
            len(self.tokens),
            stops=frozenset() if self.stops_armed else self.request.stop_tokens,
            banned=self.banned,
            held=held,
            weights=readout.weights if self.adjustment is None else None,
        )

    def take_over(self, probe: P, keep: int, then: Sequence[int]) -> None:
        """Continue from the first `keep` tokens of a probe's path, and `then`, in place of what followed its fork."""
        kept = [*probe.path[:keep], *then]
        self.tokens[probe.fork_at :] = kept
        told = [*(None for _ in probe.spec.suffix), *probe.told][:keep]
        self.unannounced, self.told = kept, [*told, *(None for _ in kept[len(told) :])]
        if self.adjustment is not None:
            self.adjustment.start_over()

    def append(self, tokens: Sequence[int]) -> None:
        """Continue with `tokens`, which are forced."""
        self.tokens.extend(tokens)
        self.unannounced.extend(tokens)
        self.told.extend(None for _ in tokens)


@dataclass(slots=True, kw_only=True, eq=False)
class ComputedSequence(TokenSequence[P]):
    """A sequence of which the first `computed` tokens have keys and values."""

    computed: int = 0

    @property
    def decoding(self) -> bool:
        """Whether exactly the newest token awaits its forward pass, and that token is not the prompt's."""
        return self.computed == len(self.tokens) - 1 and self.new_tokens > 0


T = TypeVar("T", bound=TokenSequence[Any])


class DecodingEngine(BaseEngine[T]):
    """A BaseEngine that computes its tokens with a model, those of sequences and of their probes."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__(vocabulary)
        self._masks = MasksAhead(vocabulary)
        self._prompts: dict[SequenceId, SequenceId] = {}  # the first that each was submitted like, or itself

    def submit(self, request: Request, *, like: SequenceId | None = None) -> SequenceId:
        sequence = super().submit(request, like=like)
        self._prompts[sequence] = sequence if like is None else self._prompts.get(like, like)
        return sequence

    def fork(self, sequence: SequenceId, spec: ProbeSpec, *, back: int = 0) -> ProbeId:
        probe = super().fork(sequence, spec, back=back)
        state = self._running[sequence]
        assert state.probe is not None
        state.probe.masks, state.probe.tell = self._masks, state.request.log_probs
        return probe

    def cancel(self, sequence: SequenceId) -> None:
        super().cancel(sequence)
        self._prompts.pop(sequence, None)

    def _forget_all(self) -> None:
        """Forget every sequence; what they held is freed elsewhere."""
        for sequences in (self._waiting, self._running, self._paused, self._resuming):
            sequences.clear()
        self._prompts.clear()

    def _common(self, sequence: SequenceId, request: Request) -> dict[str, Any]:
        """Returns what every engine's sequence is made of."""
        return {
            "id": sequence,
            "request": request,
            "tokens": list(request.prompt),
            "stops_armed": request.stops_armed,
            "banned": request.banned,
            "constraint": request.constraint,
            "masks": self._masks,
        }

    def _alike(self, sequence: SequenceId, request: Request) -> Iterator[T]:
        """Yields the other running sequences that were submitted with the same prompt, the oldest first."""
        first = self._prompts[sequence]
        for other in self._running.values():
            if other.id != sequence and self._prompts[other.id] == first and other.request.prompt == request.prompt:
                yield other

    def _is_decoding(self, state: T) -> bool:
        return state.decoding

    def _has_answer(self, state: T) -> bool:
        return state.probe is not None and state.probe.ended

    def _probe_rows(self, state: T) -> int:
        return 0 if state.probe is None else state.probe.rows

    def _append(self, state: T, tokens: Sequence[int]) -> None:
        state.append(tokens)

    def _announced(self, state: T) -> Tokens:
        told, state.told = state.told, []
        event = super()._announced(state)
        return event if state.request.log_probs is None else replace(event, log_probs=tuple(told))

    def _record(self, state: T, drawn: Drawn | Stuck, events: list[Event]) -> bool:
        """Report the sequence's next token, or its end; returns whether it still runs."""
        if isinstance(drawn, Stuck):
            self._end(state, drawn.reason, drawn.error, events)
            return False
        state.tokens.append(drawn.token)
        told = () if drawn.log_probs is None else (drawn.log_probs,)
        tokens = (drawn.token,)
        events.append(Tokens(sequence=state.id, tokens=tokens, averted=int(drawn.averted), log_probs=told))
        return not self._finish_if_full(state, events, drawn.token)

    def _end(self, state: T, reason: FinishReason, error: str | None, events: list[Event]) -> None:
        """End a sequence that cannot go on."""
        self.cancel(state.id)
        events.append(Finished(sequence=state.id, reason=reason, error=error))


C = TypeVar("C", bound=ComputedSequence[Any])


class Due(NamedTuple, Generic[C]):
    """The rows of one sequence and its probe in a step."""

    state: C
    own: int  # rows of the sequence itself
    probe: int  # rows of its probe
    samples: bool  # whether the sequence's last row gives its next token


def constraints(plan: Sequence[Due[Any]]) -> list[Constraint | None]:
    """Returns the constraint of each row that gives a token, in the plan's order; None: it has none."""
    found: list[Constraint | None] = []
    for due in plan:
        if due.samples:
            found.append(due.state.constraint)
        if due.probe:
            found.append(due.state.probe.constraint)
    return found


def _overflown(row: tuple[Floats, int, MaskedRow | None] | None) -> bool:
    return row is not None and not math.isfinite(row[0][row[1]])


class ComputedEngine(DecodingEngine[C]):
    """A DecodingEngine that says itself which rows a step computes: what is due of all sequences and probes at once."""

    @property
    @abstractmethod
    def prefill_chunk(self) -> int:
        """The most rows of prompts in a step."""

    def _follow(self, state: C) -> None:
        """Is called once more of the sequence's tokens have keys and values."""

    def _await_answer(self, state: C, probe: Any) -> None:
        """Is called after a step in which the sequence's probe has not ended."""

    def _most(self, state: C) -> int:
        """The most rows of its prompt that a sequence gets now."""
        return len(state.tokens)

    def _plan(self) -> list[Due[C]]:
        """The rows of this step: all due rows of decoding sequences and probes, and one chunk of prefill."""
        plan, chunk = [], self.prefill_chunk
        for state in self._running.values():
            if not state.computed and self._awaits_prompt(state):
                continue
            own = due = len(state.tokens) - state.computed
            if state.new_tokens == 0:
                own = min(due, chunk, self._most(state))
                chunk -= own
            if own:
                plan.append(Due(state, own, 0 if state.probe is None else state.probe.due, own == due))
        return plan

    def _advance(self, plan: Sequence[Due[C]], logits: Floats, best: Sequence[int], events: list[Event]) -> None:
        """Record a step's results: the next token of each sequence and probe, and those that ended.

        `logits` (rows, vocabulary) are those of the rows that give a token, in the plan's order; `best` their argmaxes.
        """
        found = zip(logits, best, self._masks.over(constraints(plan), logits), strict=True)
        for due in plan:
            state, probe = due.state, due.state.probe
            state.computed += due.own
            self._follow(state)
            own = next(found) if due.samples else None
            asked = next(found) if due.probe else None
            if _overflown(own) or _overflown(asked):
                self._end(state, FinishReason.ERROR, OVERFLOWN, events)
                continue
            runs = own is not None and self._record(state, state.draw(*own), events)
            if not runs or probe is None:
                continue
            if asked is not None:
                probe.rows += due.probe if probe.computed else due.probe + probe.repeated
                probe.computed += due.probe
                probe.decode(*asked)
            if probe.ended:
                events.append(probe.verdict(state.id))
            else:
                self._await_answer(state, probe)

    @abstractmethod
    def _lend(self, lender: C, state: C, count: int) -> bool:
        """Give `state` the first `count` keys and values of `lender`, which has them; False: they are lost."""

    def _can_lend(self, lender: C, count: int) -> bool:
        """Whether the sequence has its first `count` keys and values, or will have, so that it can give them away."""
        return True

    def _awaits_prompt(self, state: C) -> bool:
        """Whether the sequence's prompt is being computed for another; what that one has is not computed again."""
        shared = len(state.request.prompt) - 1
        if state.computed or state.new_tokens or not shared:
            return False
        older = (other for other in self._alike(state.id, state.request) if other.id < state.id)
        lender = next((other for other in older if self._can_lend(other, shared)), None)
        if lender is None:
            return False
        if lender.computed < shared:
            return True
        if self._lend(lender, state, shared):
            state.computed = shared
        return False

    def _awaited(self, state: C) -> bool:
        """Whether a younger sequence awaits the prompt of this one."""
        return any(other.id > state.id and not other.computed for other in self._alike(state.id, state.request))
