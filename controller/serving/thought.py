"""Controls running thoughts: where to probe them, when to close them, and which of their tokens to release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controller.policy import Limits, Policy
from controller.serving.active import ActiveRequest
from controller.serving.pace import Pace
from controller.serving.repetition import LoopDetection
from controller.serving.request import Checkpoint, ExitReason, ReasoningRequest
from engine.base import Engine, Probed, ProbeSpec, SequenceId
from models.score import Score
from models.thinking import Keep, ThinkingTokens
from models.tokenizer import Decoder


def probe_spec(thinking: ThinkingTokens, stop_tokens: frozenset[int], score: Score | None = None) -> ProbeSpec:
    """Returns how to probe thoughts of this format; `score` None: the format's."""
    return ProbeSpec(
        suffix=thinking.probe_suffix,
        max_answer_tokens=thinking.format.probe.max_answer_tokens,
        answer_stops=thinking.probe_stops | stop_tokens,
        score=score or thinking.format.probe.score,
    )


def _margin_spec(last: int, close: int) -> ProbeSpec:
    """Returns a probe that decodes the `last` token before a place again, to measure the margin of `close` there."""
    return ProbeSpec(suffix=(last,), max_answer_tokens=1, answer_stops=frozenset(), watched=close)


class ThoughtControl:
    """The part of the serving loop that controls thoughts: has the engine probe, adopt probes and close thoughts."""

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
        loops: LoopDetection | None,  # None: looping thoughts are not closed
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
        """The largest number of tokens that a probe of a thought may need."""
        return self._probe.room

    def apply_limits(self, active: ActiveRequest) -> Limits:
        """Derives the limits in force from the policy's limits, the request's own settings and the budget cap."""
        request = active.request
        policy = self._policy.limits(request.difficulty)
        if policy is not active.policy_limits:
            active.policy_limits = policy
            budget = policy.budget if request.budget is None else request.budget
            active.in_force = replace(
                policy,
                threshold=policy.threshold if request.early_exit else None,
                agree=policy.agree if request.early_exit else None,
                margin=policy.margin if request.early_exit else None,
                budget=active.budget_cap if budget is None else min(budget, active.budget_cap),
            )
        return active.in_force

    def budget_cap(self, request: ReasoningRequest, landing: tuple[int, ...], answer_room: int) -> int:
        """Returns what max_tokens leaves for the thought after its closing and the answer, at most max_budget."""
        left = max(0, request.max_tokens - max(len(landing), self._probe.room) - answer_room)
        return left if request.max_budget is None else min(left, request.max_budget)

    def take_thought(self, active: ActiveRequest, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """Adds the tokens that belong to the thought, and returns the tokens after the closing marker."""
        close = self._thinking.close_id
        end = tokens.index(close) if close in tokens else len(tokens)
        active.thought.extend(tokens[:end])
        active.tokens += min(end + 1, len(tokens))
        if end < len(tokens):
            self._on_close(active)
        return tokens[end + 1 :]

    def arm(self, active: ActiveRequest, sequence: SequenceId) -> None:
        """Lets the model end the answer, which has begun."""
        active.armed = True
        self._engine.arm_stops(sequence)

    def show_landing(self, active: ActiveRequest, landing: Sequence[int]) -> None:
        """Adds to the reply the landing that closed the thought in the prompt, as if it had been decoded."""
        if landing:
            end = landing.index(self._thinking.close_id)
            active.reply.push(*landing[:end])
            active.reply.close_thought()
            active.reply.recite(*landing[end + 1 :])

    def on_probe(self, active: ActiveRequest, event: Probed) -> None:
        """Passes a probe's trial answer to the observer, and adopts the probe if its result closes the thought."""
        if event.probe != active.probe:
            return  # the thought has ended in this same step, and the probe was dropped
        active.probe = None
        active.probe_rows += event.rows
        beyond = len(active.thought) - active.fork_at
        if event.gap is None:
            self._note_trial(active, event, beyond)
        limits = self.apply_limits(active)
        active.exit_reason = _verdict(limits, event, active.answers)
        if active.exit_reason is None:
            return
        active.withdrawn += beyond
        active.tokens -= beyond
        del active.thought[active.fork_at :]
        active.thought_end = active.last_probe_at
        if event.gap is not None:  # the probe's first token, decoded again, belongs to the thought
            keep, then = 1, active.landing
        else:
            keep, then = self._kept(event), ()
        active.probe_rows -= min(keep, event.rows)
        self._engine.adopt(event.probe, keep=keep, then=then)
        active.recited = self._beyond_close(self._thinking.probe_suffix[:keep] if event.gap is None else then)
        if event.gap is None and self._thinking.format.keep is Keep.ANSWER:
            self.arm(active, event.sequence)  # the reply has its answer: the next sampled token may end it

    def _note_trial(self, active: ActiveRequest, event: Probed, beyond: int) -> None:
        """Records a trial answer and passes it to the observer."""
        active.confidence = event.confidence
        active.answers.append(event.answer)
        if active.observe is not None:
            active.observe(
                Checkpoint(
                    thought_tokens=active.fork_at,
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
        """Returns how many tokens of a probe's path become part of the reply."""
        if self._thinking.format.keep is Keep.CLOSE:
            return self._thinking.keep_of_suffix
        terminated = probed.terminator is not None and probed.terminator not in self._stop_tokens
        return len(self._thinking.probe_suffix) + len(probed.answer) + terminated

    def _beyond_close(self, forced: Sequence[int]) -> int:
        """Returns the number of tokens in `forced` after the closing marker."""
        return len(forced) - forced.index(self._thinking.close_id) - 1

    def after_step(self, active: ActiveRequest, sequence: SequenceId, now: float) -> None:
        """Closes or probes the thought after a step, if it is time, and releases its tokens."""
        if not active.thinking:
            return
        if active.exit_reason is None and active.thought:
            limits = self.apply_limits(active)
            why = self.close_reason(active, now)
            if why is not None:
                active.exit_reason = why
                active.thought_end = len(active.thought)
                self._drop_probe(active)
                self._engine.force(sequence, active.landing)
                active.recited = self._beyond_close(active.landing)
            elif limits.probing and active.probe is None:
                self._maybe_probe(active, sequence, limits)
        self._release(active)

    def close_reason(self, active: ActiveRequest, now: float) -> ExitReason | None:
        """Returns why the thought is to be closed now; None: it may go on."""
        if active.in_force.budget is not None and len(active.thought) >= active.in_force.budget:
            return ExitReason.BUDGET
        if active.ending is not None:
            return active.ending
        if active.deadline_s is not None and now + self._pace.answer_s(active.answer_room) >= active.deadline_s:
            return ExitReason.DEADLINE
        if self._loops is not None and self._loops.due(len(active.thought)) and self._loops.found(active.thought):
            return ExitReason.LOOP
        return None

    def _maybe_probe(self, active: ActiveRequest, sequence: SequenceId, limits: Limits) -> None:
        """Forks a probe every `limits.every` tokens, or else at a transition point far enough from the last probe."""
        back = 0 if limits.every is not None else self._thinking.transition(active.thought)
        if back is None:
            return
        fork_at = len(active.thought) - back
        if fork_at - active.last_probe_at < (limits.every or self._thinking.format.transitions.min_gap):
            return
        active.last_probe_at = fork_at
        if limits.margin is not None:  # forks one token earlier: the probe decodes that token again, then reads the gap
            fork_at, back = fork_at - 1, back + 1
            spec = _margin_spec(active.thought[fork_at], self._thinking.close_id)
        else:
            spec = replace(self._probe, give_up_below=_give_up_below(limits))
        active.probe = self._engine.fork(sequence, spec, back=back)
        active.fork_at = fork_at
        active.probes += 1

    def _on_close(self, active: ActiveRequest) -> None:
        """Ends the thought at its closing marker, sampled or forced."""
        active.exit_reason = active.exit_reason or ExitReason.NATURAL
        self._drop_probe(active)
        self._release(active)
        active.reply.close_thought()

    def _drop_probe(self, active: ActiveRequest) -> None:
        if active.probe is not None:
            active.probe_rows += self._engine.drop(active.probe)
            active.probe = None

    def _release(self, active: ActiveRequest) -> None:
        """Releases tokens that no probe can withdraw: those before a running probe's fork or a possible cue word."""
        if active.probe is not None:
            end = active.fork_at
        elif active.exit_reason is None:
            end = len(active.thought) - self._thinking.lookback
        else:
            end = len(active.thought)
        if active.released < end:
            active.reply.push(*active.thought[active.released : end])
            active.released = end


def _verdict(limits: Limits, probed: Probed, answers: Sequence[tuple[int, ...]]) -> ExitReason | None:
    """Returns why a probe's result closes its thought, or None; `answers`: all its trial answers, this probe's last."""
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
    """Returns a probe's `give_up_below`: the threshold, or 0 (never) if unsure answers count too, as for `agree`."""
    if limits.threshold is None or limits.threshold > 1.0 or limits.agree is not None:
        return 0.0
    return limits.threshold
