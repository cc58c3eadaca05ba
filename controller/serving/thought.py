"""Controls running thoughts: where to probe them, when to close them, and which of their tokens to release."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from controller.policy import UNLIMITED, Limits, Policy
from controller.serving.active import ActiveRequest
from controller.serving.pace import Pace
from controller.serving.repetition import LoopDetection
from controller.serving.reply import Delta, Reply
from controller.serving.request import Checkpoint, ExitReason, ReasoningRequest
from controller.serving.signals.base import Asks
from controller.serving.signals.exit_rule import ExitRule
from controller.serving.trials import AnswerTrial, Trials
from engine.base import Engine, Probed, ProbeSpec, SequenceId
from models.formats.ending import Ending
from models.kinds.kind import AnswerKind
from models.score import Score
from models.thinking import ThinkingTokens
from models.tokenizer import Decoder

RULES = 64  # exit rules that are kept, so that thoughts under the same limits share one


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
        rows: int | None = None,  # tokens that the model has a row for; None: all of the tokenizer's
        every_probe: bool = False,  # ask wherever the format says, whatever a row costs the engine
        certified: frozenset[AnswerKind] | None = None,  # kinds that the policy's limits hold for; None: all
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._policy = policy
        self._stop_tokens = stop_tokens
        self._pace = pace
        self._loops = loops
        # a marker that is made of a stop token: the engine must let it pass in the thought, and the loop stops at it
        self._within = stop_tokens & frozenset(thinking.close) if thinking.close_id is None else frozenset[int]()
        self.engine_stops = stop_tokens - self._within  # at which the engine ends a sequence
        banned = thinking.markers - self._within
        self._banned = frozenset(token for token in banned if rows is None or token < rows)
        self._masks = engine.capabilities.masks
        self._trims = engine.capabilities.trim
        self._affordable = None if every_probe else engine.capabilities.probe_rows
        self._certified = certified
        self._trials = Trials(thinking, stop_tokens, score)
        self._rule = lru_cache(maxsize=RULES)(ExitRule.of)
        rule = self._rule(policy.limits(None))  # raises ValueError now, not with each request, if it cannot be made
        if rule.signals:
            rule.spec(self._trials.box.spec, thinking.probe_suffix[0], thinking.watched)
            if rule.asks is Asks.NEXT_TOKEN:
                need = f"the signal {rule.signals[0].reason} decodes the newest token again"
                engine.capabilities.need("trim", need)

    @property
    def probe_room(self) -> int:
        """The largest number of tokens that a probe of a thought may need."""
        return self._trials.room

    def reply_to(self, request: ReasoningRequest, emit: Callable[[Delta], None]) -> Reply:
        """Returns the reply to a request, still empty."""
        thinking = self._thinking
        return Reply(
            emit=emit,
            decoder=self._tokenizer.stream,
            thinking=request.thinking and not thinking.format.in_the_open,
            stop=request.stop,
            unshown=thinking.unshown if request.thinking or request.closed else None,
        )

    def apply_limits(self, active: ActiveRequest) -> Limits:
        """Derives the limits in force from the policy's present limits; what is not certified gets the full thought."""
        if self._certified is not None and active.request.answer not in self._certified:
            return active.obey(UNLIMITED, self._rule)
        return active.obey(self._policy.limits(active.request.difficulty), self._rule)

    def landing_for(self, request: ReasoningRequest) -> tuple[int, ...]:
        """Returns what closes the request's thought if it is cut."""
        return self._thinking.landing_for(request.answer, request.form) if request.landing is None else request.landing

    def _trial(self, active: ActiveRequest) -> AnswerTrial:
        return self._trials.of(active.request.form, as_certified=self._certified is not None)

    def budget_cap(self, request: ReasoningRequest, landing: tuple[int, ...], answer_room: int) -> int:
        """Returns what max_tokens leaves for the thought after its closing and the answer, at most max_budget."""
        known = self._thinking.close_id is not None or self._thinking.format.in_the_open
        wait = 0 if known else len(self._thinking.close)  # until it is decided whether a marker has come
        left = max(0, request.max_tokens - max(len(landing), self._trials.room) - answer_room - wait)
        return left if request.max_budget is None else min(left, request.max_budget)

    def take_thought(self, active: ActiveRequest, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """Adds the tokens that belong to the thought, and returns the tokens after the closing marker."""
        if self._thinking.format.in_the_open:
            return self._take_open_thought(active, tokens)
        known, marker = len(active.thought), None
        if active.finder is None:
            close = self._thinking.close[0]
            if close in tokens:
                place = known + tokens.index(close)
                marker = Ending(start=place, end=place + 1)
        else:
            marker = next((found for token in tokens if (found := active.finder.push(token)) is not None), None)
        before = len(tokens) if marker is None else marker.end - known
        active.think(tokens[:before])
        if marker is not None:
            self._drop_probe(active)
            active.close_thought(marker)
            self._seal(active)
        return tokens[before:]

    def _take_open_thought(self, active: ActiveRequest, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """Adds the tokens that belong to a thought in the open, and returns those of the answer.

        The answer begins with the words that end the thought, the model's own or the server's. The reply may end
        inside the thought: then the model has ended the thought.
        """
        assert active.finder is not None
        if active.exit_reason is not None:  # these are the server's words, behind what a probe has decoded again
            active.think(tokens[: active.again])
            active.end_in_the_open(len(active.thought))
            return tokens[active.again :]
        last = next((place for place, token in enumerate(tokens) if token in self._stop_tokens), len(tokens))
        for place, token in enumerate(tokens[:last]):
            active.think((token,))
            found = active.finder.push(token)
            if found is not None:
                self._drop_probe(active)
                return active.end_in_the_open(found.start) + tokens[place + 1 :]
        if last < len(tokens):
            self._drop_probe(active)
            return active.end_in_the_open(len(active.thought)) + tokens[last:]
        if not active.armed and self._tokenizer.decode(active.thought).strip() and active.sequence is not None:
            self.arm(active, active.sequence)  # the reply has a visible character, and may end wherever it likes
        return ()

    def arm(self, active: ActiveRequest, sequence: SequenceId) -> None:
        """Lets the model end the answer, which has begun."""
        active.arm()
        self._engine.arm_stops(sequence)

    def bans(self, active: ActiveRequest) -> frozenset[int]:
        """The tokens that a request may not sample from its beginning: markers, if its prompt has a closed thought."""
        skipped = active.request.thinking and active.exit_reason is not None  # the landing stands in the prompt
        if skipped or (not active.request.thinking and active.request.closed):
            active.seal()
        return self._banned if active.sealed and self._masks else frozenset()

    def hidden(self, active: ActiveRequest, token: int) -> bool:
        """Whether a token of the answer has no text: it ends the reply, or is a marker behind a closed thought."""
        if active.sealed and token in self._thinking.silent:
            active.avert(1)  # by an engine that cannot ban it
            return True
        return token in self._stop_tokens

    def ends(self, active: ActiveRequest, token: int) -> bool:
        """Whether a token of the answer, which has begun, ends the reply although the engine goes on."""
        return token in self._within and active.reply.answered

    def _seal(self, active: ActiveRequest) -> None:
        """Bans the markers for the rest of the reply: the thought is closed, or what closes it is on its way."""
        if not active.sealed:
            active.seal()
            if self._masks and active.sequence is not None:
                self._engine.ban(active.sequence, self._banned)

    def on_probe(self, active: ActiveRequest, event: Probed) -> None:
        """Passes a probe's trial answer to the observer, and adopts the probe if its result closes the thought."""
        if event.probe != active.probe:
            return  # the thought has ended in this same step, and the probe was dropped
        tried, trial = active.asked is Asks.TRIAL_ANSWER, self._trial(active)
        probes = active.note_probe(trial.read(event) if tried else event)
        if tried and active.observe is not None:
            active.observe(self._checkpoint(active, event))
        self.apply_limits(active)
        why = active.rule.verdict(active.asked, probes)
        if why is None:
            return
        then: tuple[int, ...] = ()
        if tried:
            keep, suffix = trial.kept(event, self._stop_tokens), trial.spec.suffix
            put_in = min(keep, len(suffix))
            recited = self._beyond_close(suffix[:keep])
        else:  # the probe's first token, decoded again, belongs to the thought
            keep, then = 1, active.landing
            put_in = len(then)
            recited = self._beyond_close(then)
        self._engine.adopt(event.probe, keep=keep, then=then)
        active.adopt(why, kept_rows=min(keep, event.rows), recited=recited, put_in=put_in, again=0 if tried else keep)
        self._seal(active)
        if tried and trial.adopted:
            self.arm(active, event.sequence)  # the reply has its answer: the next sampled token may end it

    def _checkpoint(self, active: ActiveRequest, event: Probed) -> Checkpoint:
        """Returns the report of a trial answer that has just ended."""
        return Checkpoint(
            thought_tokens=active.fork_at,
            beyond=active.beyond,
            answer=self._tokenizer.decode(event.answer),
            confidence=event.confidence,
            joint=Score.JOINT.confidence(event.log_probs),
            log_probs=event.log_probs,
            gave_up=event.gave_up,
            rows=event.rows,
        )

    def _beyond_close(self, forced: Sequence[int]) -> int:
        """Returns the number of tokens in `forced` after the closing marker; of a thought in the open, of all."""
        return len(forced) - self._thinking.ending(forced).end

    def after_step(self, active: ActiveRequest, sequence: SequenceId, now: float) -> None:
        """Closes or probes the thought after a step, if it is time, and releases its tokens."""
        if not active.thinking:
            return
        if active.exit_reason is None and active.thought:
            limits = self.apply_limits(active)
            undecided = not self._thinking.format.in_the_open and active.undecided  # the marker may be on its way
            why = self.close_reason(active, now)
            if why is not None and undecided and active.waits(len(self._thinking.close)):
                why = None
            if why is not None:
                self._drop_probe(active)
                self._engine.force(sequence, active.landing)
                active.cut_thought(why, recited=self._beyond_close(active.landing))
                self._seal(active)
            elif limits.probing and active.probe is None and not undecided:
                self._maybe_probe(active, sequence, limits.every)
        self._release(active)

    def close_reason(self, active: ActiveRequest, now: float) -> ExitReason | None:
        """Returns why the thought is to be closed now; None: it may go on."""
        if active.in_force.budget is not None and len(active.thought) >= active.in_force.budget:
            return ExitReason.BUDGET
        if active.ending:
            return ExitReason.REQUESTED
        if active.deadline_s is not None and now + self._pace.answer_s(active.answer_room) >= active.deadline_s:
            return ExitReason.DEADLINE
        if self._loops is not None and self._loops.due(len(active.thought)) and self._loops.found(active.thought):
            return ExitReason.LOOP
        return None

    def _maybe_probe(self, active: ActiveRequest, sequence: SequenceId, every: int | None) -> None:
        """Forks a probe every `every` tokens, or else at a transition point far enough from the last probe."""
        back = 0 if every is not None else self._thinking.transition(active.thought)
        if back is None:
            return
        if not self._trims:
            back = 0  # the cue word stays in the thought
        at = len(active.thought) - back
        if at - active.last_probe_at < (every or self._thinking.format.transitions.min_gap):
            return
        asks = active.rule.asks
        again = asks is Asks.NEXT_TOKEN  # such a probe forks one token earlier, and decodes that token again
        spec = active.rule.spec(self._trial(active).spec, active.thought[at - 1], self._thinking.watched)
        if every is None and not self._can_afford(active, spec, at):
            return
        probe = self._engine.fork(sequence, spec, back=back + again)
        active.ask(probe, asks, at=at, fork_at=at - again)

    def _can_afford(self, active: ActiveRequest, spec: ProbeSpec, at: int) -> bool:
        """Whether a probe after `at` tokens keeps within the engine's `probe_rows`, if it costs what others did."""
        expected = active.probe_rows / active.probes if active.probes else spec.room - 1
        return self._affordable is None or active.probe_rows + expected <= self._affordable * at

    def _drop_probe(self, active: ActiveRequest) -> None:
        if active.probe is not None:
            active.drop_probe(self._engine.drop(active.probe))

    def _release(self, active: ActiveRequest) -> None:
        """Releases tokens that no probe can withdraw: those before a running probe's fork or a possible cue word."""
        if active.probe is not None:
            active.release(active.fork_at)
        elif active.exit_reason is None:
            active.release(len(active.thought) - self._thinking.lookback)
        else:
            active.release(len(active.thought))
