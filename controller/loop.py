"""The serving loop: the one place where policy meets engine.

A tick is one engine step and what follows from it: tokens grow thoughts and answers; a transition point of a thought
forks a probe; a probe confident enough closes its thought; a thought at its budget is closed on the spot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from controller.policies import Limits, Policy
from controller.reply import Channel, Delta, Reply
from engine.base import (
    CapacityError,
    Engine,
    Finished,
    FinishReason,
    Probed,
    ProbeId,
    ProbeSpec,
    Request,
    Sampling,
    Score,
    SequenceId,
    Started,
    Token,
)
from models.thinking import Keep, ThinkingTokens
from models.tokenizer import ChatTokenizer


class ExitReason(StrEnum):
    """Why a thought ended."""

    NATURAL = "natural"  # the model closed it
    CONFIDENCE = "confidence"  # a probe's confidence reached the threshold
    BUDGET = "budget"  # its token budget was spent


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningRequest:
    """One chat turn to answer. `max_tokens` bounds thought and answer together."""

    prompt: tuple[int, ...]
    max_tokens: int
    thinking: bool = True
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    budget: int | None = None  # the client's own thinking budget, tokens; replaces the policy's
    early_exit: bool = True  # False: the client wants its thoughts unprobed
    difficulty: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """How a thought went: the additive `laser` object of a response."""

    exit_reason: ExitReason
    threshold: float | None  # in force when it ended
    budget: int | None  # in force when it ended, tokens
    confidence: float | None  # of the last probe
    tokens: int  # kept in the reply, the closing marker not counted
    withdrawn_tokens: int  # decoded beside a probe that was then adopted
    probes: int
    probe_tokens: int  # token rows that probing cost: suffixes and trial answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a request ended."""

    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int  # all tokens of the reply: thought, markers, answer
    thought: Thought | None  # None: thinking was off
    queue_s: float  # until its prefill began
    total_s: float
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One probe's verdict on a running thought, for whoever watches."""

    thought_tokens: int  # that the trial answer continues
    answer: str
    confidence: float
    gave_up: bool  # ended early, since the threshold was out of reach
    rows: int  # token rows it cost


Sink: TypeAlias = Callable[[Delta | Outcome], None]
Observer: TypeAlias = Callable[[Checkpoint], None]


@dataclass(slots=True, kw_only=True)
class _Live:
    """A request in the engine. Thought tokens are released to the reply once no probe can withdraw them any more."""

    request: ReasoningRequest
    sink: Sink
    observe: Observer | None
    reply: Reply
    submitted_s: float
    budget_cap: int  # what max_tokens leaves for thinking
    exit_reason: ExitReason | None = None
    in_force: Limits = field(default_factory=Limits)
    started_s: float | None = None
    tokens: int = 0  # of the reply
    thought: list[int] = field(default_factory=list)
    released: int = 0
    probe: ProbeId | None = None
    fork_at: int = 0  # thought tokens kept if the running probe is adopted
    last_probe_at: int = 0
    confidence: float | None = None
    probes: int = 0
    probe_tokens: int = 0
    withdrawn: int = 0
    armed: bool = False
    finished: bool = False

    @property
    def thinking(self) -> bool:
        return self.reply.channel is Channel.REASONING


class ServingLoop:
    """Drives an engine for many requests under one policy. All calls come from the engine's thread."""

    def __init__(
        self,
        *,
        engine: Engine,
        tokenizer: ChatTokenizer,
        thinking: ThinkingTokens,
        policy: Policy,
        stop_tokens: frozenset[int],
        clock: Callable[[], float],
        score: Score = Score.GEOMETRIC_MEAN,
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._policy = policy
        self._stop_tokens = stop_tokens
        self._clock = clock
        self._score = score
        self._live: dict[SequenceId, _Live] = {}

    @property
    def busy(self) -> bool:
        """Whether any request is queued or running."""
        return bool(self._live)

    @property
    def room(self) -> int:
        """The most tokens that a prompt and its reply may have together."""
        added = len(self._thinking.opening) + len(self._thinking.landing)  # what a thought may add to its prompt
        return self._engine.max_tokens - self._probe_spec(0.0).room - added

    def submit(self, request: ReasoningRequest, sink: Sink, observe: Observer | None = None) -> SequenceId:
        """Queue a request; its deltas and, last, its outcome go to `sink`, the probes of its thought to `observe`.

        Raises CapacityError if it can never fit.
        """
        tokens = len(request.prompt) + request.max_tokens
        if tokens > self.room:
            raise CapacityError(
                f"the prompt has {len(request.prompt)} tokens and max_tokens is {request.max_tokens}: "
                f"together {tokens}, must be at most {self.room}"
            )
        prompt = request.prompt
        if request.thinking and not self._thinking.leaves_open(prompt):
            prompt += self._thinking.opening
        live = _Live(
            request=request,
            sink=sink,
            observe=observe,
            reply=Reply(emit=sink, decoder=self._tokenizer.stream, thinking=request.thinking, stop=request.stop),
            submitted_s=self._clock(),
            budget_cap=self._budget_cap(request.max_tokens),
        )
        forced: tuple[int, ...] = ()
        if request.thinking:
            live.in_force = self._limits(live)
            if live.in_force.budget == 0:  # no thought at all: the prompt closes it
                forced = self._thinking.landing
                live.exit_reason = ExitReason.BUDGET
        sequence = self._engine.submit(
            Request(
                prompt=prompt + forced,
                max_new_tokens=request.max_tokens,
                sampling=request.sampling,
                stop_tokens=self._stop_tokens,
                stops_armed=False,
                probe_room=self._probe_spec(0.0).room if request.thinking else 0,
            )
        )
        self._live[sequence] = live
        for token in forced:
            self._show(live, token)
        return sequence

    def cancel(self, sequence: SequenceId) -> None:
        """Forget a request and free its memory at once; nothing more reaches its sink."""
        self._live.pop(sequence, None)
        self._engine.cancel(sequence)

    def fail_all(self, error: str) -> None:
        """End every request with an error: the engine has failed under them."""
        for sequence in list(self._live):
            self._engine.cancel(sequence)
            self._end(sequence, FinishReason.ERROR, error)

    def tick(self) -> None:
        """One engine step, and every decision that follows from it."""
        events = self._engine.step()
        for event in events:
            if isinstance(event, Finished) and event.sequence in self._live:
                self._live[event.sequence].finished = True  # the engine holds it no more, its last tokens come first
        for event in events:
            live = self._live.get(event.sequence)
            if live is None:
                continue  # ended by an earlier event of this step
            match event:
                case Started():
                    live.started_s = self._clock()
                case Token():
                    self._on_token(live, event)
                case Probed():
                    self._on_probed(live, event)
                case Finished():
                    self._end(event.sequence, event.reason)

    def _on_token(self, live: _Live, event: Token) -> None:
        live.tokens += 1
        if not live.thinking:
            self._on_answer_token(live, event)
        elif event.token == self._thinking.close_id:
            self._close(live, live.exit_reason or ExitReason.NATURAL)
        else:
            live.thought.append(event.token)
            if live.exit_reason is None:  # otherwise its close is on the way, token by token
                self._check(live, event.sequence)
            self._release(live)

    def _on_answer_token(self, live: _Live, event: Token) -> None:
        if event.token not in self._stop_tokens:
            self._show(live, event.token)
        if live.reply.stopped:
            self._engine.cancel(event.sequence)
            self._end(event.sequence, FinishReason.STOP)
        elif live.reply.answered and not live.armed and not live.finished:
            live.armed = True
            self._engine.arm_stops(event.sequence)

    def _show(self, live: _Live, token: int) -> None:
        if live.thinking and token == self._thinking.close_id:
            live.reply.close_thought()
        else:
            live.reply.push(token)

    def _check(self, live: _Live, sequence: SequenceId) -> None:
        """A running thought has grown: is its budget spent, or is this a place to ask for its answer?"""
        limits = live.in_force = self._limits(live)
        if limits.budget is not None and len(live.thought) >= limits.budget:
            live.exit_reason, live.probe = ExitReason.BUDGET, None
            self._engine.force(sequence, self._thinking.landing)
            return
        if limits.threshold is None or live.probe is not None:
            return
        back = self._thinking.transition(live.thought)
        if back is None:
            return
        fork_at = len(live.thought) - back
        if fork_at - live.last_probe_at < self._thinking.format.transitions.min_gap:
            return
        live.fork_at = live.last_probe_at = fork_at
        live.probe = self._engine.fork(sequence, self._probe_spec(limits.threshold), back=back)
        live.probes += 1

    def _on_probed(self, live: _Live, event: Probed) -> None:
        live.probe_tokens += event.rows
        if event.probe != live.probe:
            return  # the thought ended meanwhile
        live.probe = None
        live.confidence = event.confidence
        if live.observe is not None:
            live.observe(
                Checkpoint(
                    thought_tokens=live.fork_at,
                    answer=self._tokenizer.decode(event.answer),
                    confidence=event.confidence,
                    gave_up=event.gave_up,
                    rows=event.rows,
                )
            )
        limits = live.in_force = self._limits(live)
        if limits.threshold is not None and not event.gave_up and event.confidence >= limits.threshold:
            live.exit_reason = ExitReason.CONFIDENCE
            withdrawn = len(live.thought) - live.fork_at
            live.withdrawn += withdrawn
            live.tokens -= withdrawn
            del live.thought[live.fork_at :]
            self._engine.adopt(event.probe, keep=self._kept(event))
            if self._thinking.format.keep is Keep.ANSWER:  # an answer is there: the next sampled token may end it
                live.armed = True
                self._engine.arm_stops(event.sequence)
        self._release(live)

    def _kept(self, probed: Probed) -> int:
        if self._thinking.format.keep is Keep.CLOSE:
            return self._thinking.keep_of_suffix
        terminated = probed.terminator is not None and probed.terminator not in self._stop_tokens
        return len(self._thinking.probe_suffix) + len(probed.answer) + terminated

    def _close(self, live: _Live, reason: ExitReason) -> None:
        live.exit_reason, live.probe = reason, None
        self._release(live)
        live.reply.close_thought()

    def _release(self, live: _Live) -> None:
        """Show what can no longer be withdrawn: everything before a running probe's fork or a possible cue word."""
        if live.probe is not None:
            end = live.fork_at
        elif live.exit_reason is None:
            end = len(live.thought) - self._thinking.lookback
        else:
            end = len(live.thought)
        while live.released < end:
            live.reply.push(live.thought[live.released])
            live.released += 1

    def _limits(self, live: _Live) -> Limits:
        request = live.request
        policy = self._policy.limits(request.difficulty)
        budget = policy.budget if request.budget is None else request.budget
        return Limits(
            threshold=policy.threshold if request.early_exit else None,
            budget=live.budget_cap if budget is None else min(budget, live.budget_cap),
        )

    def _budget_cap(self, max_tokens: int) -> int:
        """What max_tokens leaves for the thought once its closing and a share for the answer are put aside."""
        closing = max(len(self._thinking.landing), self._probe_spec(0.0).room)
        answer = min(self._thinking.format.answer_reserve, max_tokens // 2)
        return max(0, max_tokens - closing - answer)

    def _probe_spec(self, threshold: float) -> ProbeSpec:
        return ProbeSpec(
            suffix=self._thinking.probe_suffix,
            max_answer_tokens=self._thinking.format.probe.max_answer_tokens,
            answer_stops=self._thinking.probe_stops | self._stop_tokens,
            score=self._score,
            give_up_below=threshold if threshold <= 1.0 else 0.0,
        )

    def _end(self, sequence: SequenceId, reason: FinishReason, error: str | None = None) -> None:
        live = self._live.pop(sequence)
        live.reply.finish()
        now = self._clock()
        thought = None
        if live.request.thinking and live.exit_reason is not None:
            thought = Thought(
                exit_reason=live.exit_reason,
                threshold=live.in_force.threshold,
                budget=live.in_force.budget,
                confidence=live.confidence,
                tokens=len(live.thought),
                withdrawn_tokens=live.withdrawn,
                probes=live.probes,
                probe_tokens=live.probe_tokens,
            )
        live.sink(
            Outcome(
                finish_reason=reason,
                prompt_tokens=len(live.request.prompt),
                completion_tokens=live.tokens,
                thought=thought,
                queue_s=(live.started_s if live.started_s is not None else now) - live.submitted_s,
                total_s=now - live.submitted_s,
                error=error,
            )
        )
