"""Steers running thoughts: where they are asked for their answer, when they are closed, what of them may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controller.policy import Limits, Policy
from controller.serving.active import Live
from controller.serving.pace import Pace
from controller.serving.repetition import LoopDetection
from controller.serving.request import Checkpoint, ExitReason, ReasoningRequest
from engine.base import Engine, Probed, ProbeSpec, SequenceId
from models.score import Score
from models.thinking import Keep, ThinkingTokens
from models.tokenizer import Decoder


def probe_spec(thinking: ThinkingTokens, stop_tokens: frozenset[int], score: Score | None = None) -> ProbeSpec:
    """How thoughts of this format are probed; `score` None: the format's."""
    return ProbeSpec(
        suffix=thinking.probe_suffix,
        max_answer_tokens=thinking.format.probe.max_answer_tokens,
        answer_stops=thinking.probe_stops | stop_tokens,
        score=score or thinking.format.probe.score,
    )


def _margin_spec(last: int, close: int) -> ProbeSpec:
    """A probe that reads the last token before a place again, to learn how far `close` is from coming there."""
    return ProbeSpec(suffix=(last,), max_answer_tokens=1, answer_stops=frozenset(), watched=close)


class Steering:
    """The part of the serving loop that a thought meets. Probes, adoptions and closings go to the engine from here."""

    def __init__(
        self,
        *,
        engine: Engine,
        tokenizer: Decoder,
        thinking: ThinkingTokens,
        policy: Policy,
        stop_tokens: frozenset[int],
        score: Score | None,  # None: the thinking format's
        pace: Pace,
        loops: LoopDetection | None,  # None: thoughts may go round in circles
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._policy = policy
        self._stop_tokens = stop_tokens
        self._pace = pace
        self._loops = loops
        self._probe = probe_spec(thinking, stop_tokens, score)

    @property
    def probe_room(self) -> int:
        """The most tokens that a probe of a thought may need."""
        return self._probe.room

    def heed(self, live: Live) -> Limits:
        """Put in force what bounds its thought now: the policy's limits, its own wishes, and what max_tokens leaves."""
        request = live.request
        policy = self._policy.limits(request.difficulty)
        if policy is not live.policy_limits:
            live.policy_limits = policy
            budget = policy.budget if request.budget is None else request.budget
            live.in_force = replace(
                policy,
                threshold=policy.threshold if request.early_exit else None,
                agree=policy.agree if request.early_exit else None,
                margin=policy.margin if request.early_exit else None,
                budget=live.budget_cap if budget is None else min(budget, live.budget_cap),
            )
        return live.in_force

    def budget_cap(self, request: ReasoningRequest, landing: tuple[int, ...], answer_room: int) -> int:
        """What max_tokens leaves for the thought once its closing and a share for the answer are put aside."""
        left = max(0, request.max_tokens - max(len(landing), self._probe.room) - answer_room)
        return left if request.max_budget is None else min(left, request.max_budget)

    def think(self, live: Live, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """Take what belongs to the thought, and give back what follows it."""
        close = self._thinking.close_id
        end = tokens.index(close) if close in tokens else len(tokens)
        live.thought.extend(tokens[:end])
        live.tokens += min(end + 1, len(tokens))
        if end < len(tokens):
            self._close(live)
        return tokens[end + 1 :]

    def arm(self, live: Live, sequence: SequenceId) -> None:
        """The answer has begun: from now on the model may end it."""
        live.armed = True
        self._engine.arm_stops(sequence)

    def show_landing(self, live: Live, landing: Sequence[int]) -> None:
        """What closed the thought in the prompt, as if it had been decoded."""
        if landing:
            end = landing.index(self._thinking.close_id)
            live.reply.push(*landing[:end])
            live.reply.close_thought()
            live.reply.recite(*landing[end + 1 :])

    def hear(self, live: Live, event: Probed) -> None:
        """Take what a probe says: it is told to whoever observes, and closes the thought if it is sure enough."""
        if event.probe != live.probe:
            return  # the thought has ended in this very step, and the probe was dropped
        live.probe = None
        live.probe_rows += event.rows
        beyond = len(live.thought) - live.fork_at
        if event.gap is None:
            self._tell(live, event, beyond)
        limits = self.heed(live)
        live.exit_reason = _verdict(limits, event, live.answers)
        if live.exit_reason is None:
            return
        live.withdrawn += beyond
        live.tokens -= beyond
        del live.thought[live.fork_at :]
        live.thought_end = live.last_probe_at
        if event.gap is not None:  # the token that was read again is the thought's
            keep, then = 1, live.landing
        else:
            keep, then = self._kept(event), ()
        live.probe_rows -= min(keep, event.rows)
        self._engine.adopt(event.probe, keep=keep, then=then)
        live.recited = self._beyond_close(self._thinking.probe_suffix[:keep] if event.gap is None else then)
        if event.gap is None and self._thinking.format.keep is Keep.ANSWER:
            self.arm(live, event.sequence)  # an answer is there: the next sampled token may end it

    def _tell(self, live: Live, event: Probed, beyond: int) -> None:
        """Take note of a trial answer."""
        live.confidence = event.confidence
        live.answers.append(event.answer)
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

    def _kept(self, probed: Probed) -> int:
        """How much of a probe's path becomes part of the reply, tokens."""
        if self._thinking.format.keep is Keep.CLOSE:
            return self._thinking.keep_of_suffix
        terminated = probed.terminator is not None and probed.terminator not in self._stop_tokens
        return len(self._thinking.probe_suffix) + len(probed.answer) + terminated

    def _beyond_close(self, forced: Sequence[int]) -> int:
        """How many of these tokens follow the closing marker."""
        return len(forced) - forced.index(self._thinking.close_id) - 1

    def decide(self, live: Live, sequence: SequenceId, now: float) -> None:
        """After a step: is a running thought to be closed, or is this a place to probe it?"""
        if not live.thinking:
            return
        if live.exit_reason is None and live.thought:
            limits = self.heed(live)
            why = self.due(live, now)
            if why is not None:
                live.exit_reason = why
                live.thought_end = len(live.thought)
                self._drop_probe(live)
                self._engine.force(sequence, live.landing)
                live.recited = self._beyond_close(live.landing)
            elif limits.probing and live.probe is None:
                self._ask(live, sequence, limits)
        self._release(live)

    def due(self, live: Live, now: float) -> ExitReason | None:
        """Why the thought is to be closed now; None: it may go on."""
        if live.in_force.budget is not None and len(live.thought) >= live.in_force.budget:
            return ExitReason.BUDGET
        if live.ending is not None:
            return live.ending
        if live.deadline_s is not None and now + self._pace.answer_s(live.answer_room) >= live.deadline_s:
            return ExitReason.DEADLINE
        if self._loops is not None and self._loops.due(len(live.thought)) and self._loops.found(live.thought):
            return ExitReason.LOOP
        return None

    def _ask(self, live: Live, sequence: SequenceId, limits: Limits) -> None:
        """Fork a probe if it is time, or if the thought has just shown a transition point, far enough from the last."""
        back = 0 if limits.every is not None else self._thinking.transition(live.thought)
        if back is None:
            return
        fork_at = len(live.thought) - back
        if fork_at - live.last_probe_at < (limits.every or self._thinking.format.transitions.min_gap):
            return
        live.last_probe_at = fork_at
        if limits.margin is not None:  # what follows the fork is told where its last token is read again
            fork_at, back = fork_at - 1, back + 1
            spec = _margin_spec(live.thought[fork_at], self._thinking.close_id)
        else:
            spec = replace(self._probe, give_up_below=_give_up_below(limits))
        live.probe = self._engine.fork(sequence, spec, back=back)
        live.fork_at = fork_at
        live.probes += 1

    def _close(self, live: Live) -> None:
        """The closing marker has come, from the model or forced."""
        live.exit_reason = live.exit_reason or ExitReason.NATURAL
        self._drop_probe(live)
        self._release(live)
        live.reply.close_thought()

    def _drop_probe(self, live: Live) -> None:
        if live.probe is not None:
            live.probe_rows += self._engine.drop(live.probe)
            live.probe = None

    def _release(self, live: Live) -> None:
        """Show what can no longer be withdrawn: everything before a running probe's fork or a possible cue word."""
        if live.probe is not None:
            end = live.fork_at
        elif live.exit_reason is None:
            end = len(live.thought) - self._thinking.lookback
        else:
            end = len(live.thought)
        if live.released < end:
            live.reply.push(*live.thought[live.released : end])
            live.released = end


def _verdict(limits: Limits, probed: Probed, answers: Sequence[tuple[int, ...]]) -> ExitReason | None:
    """Whether what a probe has just told closes its thought; `answers` are those of all its probes, this one's last."""
    if probed.gap is not None:
        return ExitReason.MARGIN if limits.margin is not None and probed.gap <= limits.margin else None
    if limits.threshold is not None and not probed.gave_up and probed.confidence >= limits.threshold:
        return ExitReason.CONFIDENCE
    if (
        limits.agree is not None
        and probed.answer
        and tuple(answers[-limits.agree :]) == (probed.answer,) * limits.agree
    ):
        return ExitReason.CONSISTENCY
    return None


def _give_up_below(limits: Limits) -> float:
    """The confidence out of whose reach a probe's answer is of no more use: any answer may agree with the next."""
    if limits.threshold is None or limits.threshold > 1.0 or limits.agree is not None:
        return 0.0
    return limits.threshold
