"""The serving loop: the one place where policy meets engine.

A tick is one engine step and what follows from it: tokens grow thoughts and answers; a transition point of a thought
forks a probe; a probe confident enough closes its thought; a thought at its budget is closed on the spot.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from controller.policies import Limits, Policy
from controller.reply import Channel, Reply
from controller.request import Checkpoint, ExitReason, Observer, Outcome, ReasoningRequest, Sink, Thought
from controller.view import Ended, Running, Stage, View
from controller.watch import Watcher
from engine.base import (
    CapacityError,
    Engine,
    Event,
    Finished,
    FinishReason,
    Probed,
    ProbeId,
    ProbeSpec,
    Request,
    SequenceId,
    Started,
    Token,
)
from models.score import Score
from models.thinking import Keep, ThinkingTokens
from models.tokenizer import ChatTokenizer

log = logging.getLogger(__name__)

ENDED = 256  # of the last requests that ended the view tells


@dataclass(slots=True, kw_only=True)
class _Live:
    """A request in the engine. Thought tokens are released to the reply once no probe can withdraw them any more."""

    number: int
    request: ReasoningRequest
    sink: Sink
    observe: Observer | None
    reply: Reply
    submitted_s: float
    budget_cap: int  # what max_tokens leaves for thinking
    prompt_tokens: int
    exit_reason: ExitReason | None = None  # set: the thought is over, or its close is on the way
    in_force: Limits = field(default_factory=Limits)
    started_s: float | None = None
    tokens: int = 0  # of the reply
    thought: list[int] = field(default_factory=list)
    closing: int = 0  # how many of these were forced to close it
    released: int = 0
    probe: ProbeId | None = None
    fork_at: int = 0  # thought tokens kept if the running probe is adopted
    last_probe_at: int = 0
    confidence: float | None = None
    probes: int = 0
    probe_rows: int = 0
    withdrawn: int = 0
    armed: bool = False

    @property
    def thinking(self) -> bool:
        return self.reply.channel is Channel.REASONING

    @property
    def stage(self) -> Stage:
        if self.started_s is None:
            return Stage.WAITING
        return Stage.THINKING if self.thinking else Stage.ANSWERING


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
        score: Score | None = None,  # None: the thinking format's
        watcher: Watcher | None = None,
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._policy = policy
        self._stop_tokens = stop_tokens
        self._clock = clock
        self._probe = ProbeSpec(
            suffix=thinking.probe_suffix,
            max_answer_tokens=thinking.format.probe.max_answer_tokens,
            answer_stops=thinking.probe_stops | stop_tokens,
            score=score or thinking.format.probe.score,
        )
        self._live: dict[SequenceId, _Live] = {}
        self._arrived = self._finished = 0
        self._ended: deque[Ended] = deque(maxlen=ENDED)
        self._watcher = watcher
        self._watched_step: tuple[float, int, float] | None = None  # when a pure decode step began, batch and context

    @property
    def watched(self) -> bool:
        """Whether somebody wants to hear of time that passes, even while nothing runs."""
        return self._watcher is not None

    @property
    def busy(self) -> bool:
        """Whether any request is queued or running."""
        return bool(self._live)

    @property
    def room(self) -> int:
        """The most tokens that a prompt and its reply may have together."""
        return self._engine.max_tokens - self._probe.room - len(self._thinking.landing)

    def view(self) -> View:
        """What runs and what has ended lately."""
        now = self._clock()
        running = tuple(
            Running(
                number=live.number,
                difficulty=live.request.difficulty,
                stage=live.stage,
                age_s=now - live.submitted_s,
                tokens=live.tokens,
                thought_tokens=len(live.thought),
                probes=live.probes,
                confidence=live.confidence,
                threshold=live.in_force.threshold,
                budget=live.in_force.budget,
            )
            for live in self._live.values()
        )
        return View(
            at_s=now,
            load=self._engine.load(),
            arrived=self._arrived,
            finished=self._finished,
            running=running,
            ended=tuple(self._ended),
        )

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
        live = _Live(
            number=self._arrived + 1,
            request=request,
            sink=sink,
            observe=observe,
            reply=Reply(emit=sink, decoder=self._tokenizer.stream, thinking=request.thinking, stop=request.stop),
            submitted_s=self._clock(),
            budget_cap=self._budget_cap(request.max_tokens),
            prompt_tokens=len(request.prompt),
        )
        landing: tuple[int, ...] = ()
        if request.thinking:
            live.in_force = self._limits(live)
            if live.in_force.budget == 0:  # no thought at all: the prompt closes it
                landing = self._thinking.landing
                live.exit_reason = ExitReason.BUDGET
                live.prompt_tokens += len(landing)
        sequence = self._engine.submit(
            Request(
                prompt=request.prompt + landing,
                max_new_tokens=request.max_tokens,
                sampling=request.sampling,
                stop_tokens=self._stop_tokens,
                stops_armed=False,
                probe_room=self._probe.room if request.thinking else 0,
            )
        )
        self._live[sequence] = live
        self._arrived += 1
        if self._watcher is not None:
            self._watcher.arrived(request.difficulty)
        for token in landing:
            self._show(live, token)
        return sequence

    def cancel(self, sequence: SequenceId) -> None:
        """Forget a request and free its memory at once; nothing more reaches its sink."""
        self._live.pop(sequence, None)
        self._rest()
        self._engine.cancel(sequence)

    def fail_all(self, error: str) -> None:
        """End every request with an error: the engine has failed under them."""
        for sequence in list(self._live):
            self._fail(sequence, error)

    def tick(self) -> None:
        """One engine step, and every decision that follows from it. One request's failure is its own."""
        now = self._clock()
        if self._watcher is not None:
            self._watch(self._watcher, now)
        events = self._engine.step()
        if self._watcher is not None:
            self._watched_step = self._pure(events, now)
        for event in events:
            self._guarded(event.sequence, partial(self._take, event, now))
        for sequence in dict.fromkeys(event.sequence for event in events):
            self._guarded(sequence, partial(self._decide, sequence))

    def idle(self) -> None:
        """Nothing runs, but time has passed."""
        if self._watcher is not None:
            self._watcher.tick(self._clock(), len(self._live))

    def _rest(self) -> None:
        if not self._live:
            self._watched_step = None  # until the next request comes nothing is decoded

    def _watch(self, watcher: Watcher, now: float) -> None:
        """Tell of the last step, from its beginning to this one's: what a token takes, the loop's own work included."""
        if self._watched_step is not None:
            began, batch, context = self._watched_step
            watcher.stepped(batch, context, now - began)
        watcher.tick(now, len(self._live))

    def _pure(self, events: list[Event], now: float) -> tuple[float, int, float] | None:
        """Of a step that decoded one token for each running sequence and did nothing else; None for any other."""
        batch, context = 0, 0
        for live in self._live.values():
            if live.started_s is not None:
                if live.probe is not None or not live.tokens:
                    return None  # its last chunk of prefill comes with its first token
                batch += 1
                context += live.prompt_tokens + live.tokens
        if not batch or len(events) != batch or not all(type(event) is Token and not event.forced for event in events):
            return None
        return now, batch, context / batch

    def _guarded(self, sequence: SequenceId, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            log.exception("request %d failed", sequence)
            self._fail(sequence, f"{type(error).__name__}: {error}")

    def _take(self, event: Event, now: float) -> None:
        """What an event brings."""
        live = self._live.get(event.sequence)
        if live is None:
            return  # ended by an earlier event of this step
        match event:
            case Started():
                live.started_s = now
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
            self._close(live)
        else:
            live.thought.append(event.token)
            live.closing += live.exit_reason is not None

    def _on_answer_token(self, live: _Live, event: Token) -> None:
        if event.token not in self._stop_tokens:
            self._show(live, event.token)
        if live.reply.stopped:
            self._engine.cancel(event.sequence)
            self._end(event.sequence, FinishReason.STOP)
        elif live.reply.answered and not live.armed:
            self._arm(live, event.sequence)

    def _arm(self, live: _Live, sequence: SequenceId) -> None:
        """The answer has begun: from now on the model may end it."""
        live.armed = True
        self._engine.arm_stops(sequence)

    def _show(self, live: _Live, token: int) -> None:
        if live.thinking and token == self._thinking.close_id:
            live.reply.close_thought()
        else:
            live.reply.push(token)

    def _on_probed(self, live: _Live, event: Probed) -> None:
        if event.probe != live.probe:
            return  # the thought has ended in this very step, and the probe was dropped
        live.probe = None
        live.probe_rows += event.rows
        live.confidence = event.confidence
        beyond = len(live.thought) - live.fork_at
        if live.observe is not None:
            live.observe(
                Checkpoint(
                    thought_tokens=live.fork_at,
                    beyond=beyond,
                    answer=self._tokenizer.decode(event.answer),
                    confidence=event.confidence,
                    joint=Score.JOINT.confidence(event.log_probs),
                    log_probs=event.log_probs,
                    gave_up=event.gave_up,
                    rows=event.rows,
                )
            )
        limits = live.in_force = self._limits(live)
        if limits.threshold is None or event.gave_up or event.confidence < limits.threshold:
            return
        live.exit_reason = ExitReason.CONFIDENCE
        live.withdrawn += beyond
        live.tokens -= beyond
        del live.thought[live.fork_at :]
        keep = self._kept(event)
        live.probe_rows -= min(keep, event.rows)
        self._engine.adopt(event.probe, keep=keep)
        if self._thinking.format.keep is Keep.ANSWER:  # an answer is there: the next sampled token may end it
            self._arm(live, event.sequence)

    def _kept(self, probed: Probed) -> int:
        """How much of a probe's path becomes part of the reply, tokens."""
        if self._thinking.format.keep is Keep.CLOSE:
            return self._thinking.keep_of_suffix
        terminated = probed.terminator is not None and probed.terminator not in self._stop_tokens
        return len(self._thinking.probe_suffix) + len(probed.answer) + terminated

    def _decide(self, sequence: SequenceId) -> None:
        """After a step: is a running thought's budget spent, or is this a place to ask for its answer?"""
        live = self._live.get(sequence)
        if live is None or not live.thinking:
            return
        if live.exit_reason is None and live.thought:
            limits = live.in_force = self._limits(live)
            if limits.budget is not None and len(live.thought) >= limits.budget:
                live.exit_reason = ExitReason.BUDGET
                self._drop_probe(live)
                self._engine.force(sequence, self._thinking.landing)
            elif limits.threshold is not None and live.probe is None:
                self._ask(live, sequence, limits.threshold)
        self._release(live)

    def _ask(self, live: _Live, sequence: SequenceId, threshold: float) -> None:
        """Fork a probe if the thought has just shown a transition point, far enough from the last."""
        back = self._thinking.transition(live.thought)
        if back is None:
            return
        fork_at = len(live.thought) - back
        if fork_at - live.last_probe_at < self._thinking.format.transitions.min_gap:
            return
        spec = replace(self._probe, give_up_below=threshold if threshold <= 1.0 else 0.0)
        live.probe = self._engine.fork(sequence, spec, back=back)
        live.fork_at = live.last_probe_at = fork_at
        live.probes += 1

    def _close(self, live: _Live) -> None:
        """The closing marker has come, from the model or forced."""
        live.exit_reason = live.exit_reason or ExitReason.NATURAL
        self._drop_probe(live)
        self._release(live)
        live.reply.close_thought()

    def _drop_probe(self, live: _Live) -> None:
        if live.probe is not None:
            live.probe_rows += self._engine.drop(live.probe)
            live.probe = None

    def _release(self, live: _Live) -> None:
        """Show what can no longer be withdrawn: everything before a running probe's fork or a possible cue word."""
        if live.probe is not None:
            end = live.fork_at
        elif live.exit_reason is None:
            end = len(live.thought) - self._thinking.lookback
        else:
            end = len(live.thought)
        while live.released < end:
            live.released += 1
            live.reply.push(live.thought[live.released - 1])

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
        closing = max(len(self._thinking.landing), self._probe.room)
        answer = min(self._thinking.format.answer_reserve, max_tokens // 2)
        return max(0, max_tokens - closing - answer)

    def _fail(self, sequence: SequenceId, error: str) -> None:
        self._engine.cancel(sequence)
        if sequence in self._live:
            self._end(sequence, FinishReason.ERROR, error)

    def _end(self, sequence: SequenceId, reason: FinishReason, error: str | None = None) -> None:
        live = self._live[sequence]
        if error is None:
            live.reply.finish()
        del self._live[sequence]
        self._rest()
        now = self._clock()
        thought = None
        if live.request.thinking and live.exit_reason is not None:
            thought = Thought(
                exit_reason=live.exit_reason,
                threshold=live.in_force.threshold,
                budget=live.in_force.budget,
                confidence=live.confidence,
                ids=tuple(live.thought[: len(live.thought) - live.closing]),
                withdrawn_tokens=live.withdrawn,
                probes=live.probes,
                probe_rows=live.probe_rows,
            )
        left_to_policy = live.request.thinking and live.request.early_exit and live.request.budget is None
        if self._watcher is not None and left_to_policy and reason is not FinishReason.ERROR:
            self._watcher.finished(live.request.difficulty, live.tokens + live.withdrawn + live.probe_rows)
        outcome = Outcome(
            finish_reason=reason,
            prompt_tokens=live.prompt_tokens,
            completion_tokens=live.tokens,
            thought=thought,
            queue_s=(live.started_s if live.started_s is not None else now) - live.submitted_s,
            total_s=now - live.submitted_s,
            error=error,
        )
        self._finished += 1
        self._ended.append(Ended.of(live.number, now, live.request.difficulty, outcome))
        live.sink(outcome)
