"""Controls running thoughts: where to probe them, when to close them, and which of their tokens to release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from controller.policy import UNLIMITED, Limits, Policy, keeper_of
from controller.serving.active import ActiveRequest
from controller.serving.answers.held import AnswerGrammars
from controller.serving.choices.opening import Opening
from controller.serving.ordering.foresight import limits_of
from controller.serving.pace import Pace
from controller.serving.repetition import LoopDetection
from controller.serving.request import ExitReason, ReasoningRequest
from controller.serving.signals.base import Asks
from controller.serving.signals.exit_rule import ExitRule
from controller.serving.signals.give_up import StandingTrial, give_up_below, hopeless
from controller.serving.trials import AnswerTrial, Trials, checkpoint
from engine.base import Engine, Probed, ProbeSpec, SequenceId
from models.formats.ending import Ending
from models.grammar.compiling import Grammars
from models.grammar.matching import GrammarMatch
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
        grammars: Grammars | None = None,  # None: no answer is held to one
        constant: bool = False,  # the policy's limits are the same at any load
    ) -> None:
        self._engine = engine
        self._constant = constant
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._policy = policy
        self._keeper = keeper_of(policy)
        self._stop_tokens = stop_tokens
        self._pace = pace
        self._loops = loops
        # a marker that is made of a stop token: the engine must let it pass in the thought, and the loop stops at it
        self._within = stop_tokens & frozenset(thinking.close) if thinking.close_id is None else frozenset[int]()
        banned = thinking.markers - self._within
        self._banned = frozenset(token for token in banned if rows is None or token < rows)
        self._masks = engine.capabilities.masks
        self._trims = engine.capabilities.trim
        self._affordable = None if every_probe else engine.capabilities.probe_rows
        self._without = lru_cache(maxsize=RULES)(self._banned_without)
        self._certified = certified
        self._trials = Trials(thinking, stop_tokens, score)
        self._held_answers = AnswerGrammars(thinking, self._trials.box.spec, stop_tokens, grammars)
        self.probe_room = max(self._trials.room, self._held_answers.room)  # the most tokens of a probe
        self.opening = Opening(
            thinking=thinking, tokenizer=tokenizer, answers=self._held_answers, capabilities=engine.capabilities,
            stops=stop_tokens - self._within, probe_room=self.probe_room,
        )  # fmt: skip
        self._rule = lru_cache(maxsize=RULES)(ExitRule.of)
        rule = self._rule(policy.limits(None))  # raises ValueError now, not with each request, if it cannot be made
        if rule.signals:
            rule.spec(self._trials.box.spec, thinking.probe_suffix[0], thinking.watched)
            if rule.asks is Asks.NEXT_TOKEN:
                need = f"the signal {rule.signals[0].reason} decodes the newest token again"
                engine.capabilities.need("trim", need)

    def apply_limits(self, active: ActiveRequest) -> Limits:
        """Derives the limits in force from the policy's present limits: none for what is not certified, or votes."""
        free = self._certifies(active.request) and not (active.race is not None and active.race.counts)
        wanted = self._policy.limits(active.request.difficulty) if free else UNLIMITED
        served = wanted
        if active.grant is not None and self._keeper is not None:
            served = self._keeper.within(active.grant, wanted, len(active.thought))
            if not active.thought:  # later looks would leave out long thoughts alone
                active.held_back = served != wanted
        return active.obey(served, self._rule)

    def foreseen(self, request: ReasoningRequest) -> Limits:
        """Returns the limits that a request would have that came now, as far as they tell how long it takes."""
        return limits_of(request, self._policy.limits(request.difficulty) if self._certifies(request) else UNLIMITED)

    def begin(self, active: ActiveRequest) -> None:
        """Applies the limits to a thought that begins, within what the policy's keeper grants it, if there is one."""
        request = active.request
        if self._keeper is not None and self._certifies(request) and request.fixed is None:
            active.grant = self._keeper.admit(request.difficulty, active.claim.tenant, pays=request.left_to_policy)
        self.apply_limits(active)

    def left(self, active: ActiveRequest, *, served: bool) -> None:
        """A request has left; tells the keeper whether it has met what it was charged for."""
        if self._keeper is not None and active.grant is not None:
            (self._keeper.served if served or active.exited else self._keeper.void)(active.grant)

    def limited_by_policy(self, active: ActiveRequest) -> bool:
        """Whether the policy's limits, and nobody else's, held for a request's thought as it began."""
        owner = active.owner
        return owner.request.left_to_policy and not owner.held_back

    def _certifies(self, request: ReasoningRequest) -> bool:
        """Whether the policy's limits hold for the kind of answer that a request wants."""
        return self._certified is None or request.answer in self._certified

    def _trial(self, active: ActiveRequest) -> AnswerTrial:
        """Returns how the request's answer is tried, but for its grammar."""
        if active.held is not None:
            return self._held_answers.trial
        return self._trials.of(active.request.form, as_certified=self._certified is not None)

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
            begun = self._begun(active, marker)
            active.close_thought(marker, said=active.held is None or bool(begun))
            self._seal(active)
            self._lead_over(active, begun)
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
        may_stop = active.reply.answered and active.long_enough
        ends = self._stop_tokens | (active.request.stop_ids if may_stop else frozenset())
        last = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
        for place, token in enumerate(tokens[:last]):
            active.think((token,))
            found = active.finder.push(token)
            if found is not None:
                self._drop_probe(active)
                return active.end_in_the_open(found.start) + tokens[place + 1 :]
        if last < len(tokens):
            self._drop_probe(active)
            return active.end_in_the_open(len(active.thought)) + tokens[last:]
        if active.may_end and not active.armed and (active.reply.answered or self._visible(active)):
            self.arm(active)  # it may end wherever it likes
        return ()

    def _visible(self, active: ActiveRequest) -> bool:
        """Whether a thought in the open has a visible character."""
        return bool(self._tokenizer.decode(active.thought).strip())

    def hold(self, active: ActiveRequest, *, coming: int = 0, taken: Sequence[int] = ()) -> GrammarMatch | None:
        """Holds the answer to its grammar from the next sampled token on; None: it has no grammar.

        `coming`: tokens that are forced or adopted and still to be reported; of them `taken` are the answer's.
        """
        if active.held is None:
            return None
        match = active.held.begin(active.room - coming + len(taken), taken)
        if active.sequence is not None:
            self._engine.constrain(active.sequence, match)
        return match

    def _begun(self, active: ActiveRequest, marker: Ending) -> tuple[int, ...]:
        """Returns the tokens of a held answer with which the model has ended its thought; none if they do not fit."""
        if active.held is None or active.held.begun or not marker.begun:
            return ()
        tokens = self._thinking.encode(marker.tail)
        return tokens if active.held.allows(tokens) else ()

    def _lead_over(self, active: ActiveRequest, begun: tuple[int, ...]) -> None:
        """Begins a held answer where the model has ended its thought: behind the blanks that follow the marker.

        `begun`: tokens of the answer that have come.
        """
        held, sequence = active.held, active.sequence
        if held is None or held.begun or sequence is None:
            return
        if begun:
            self.hold(active, taken=begun)
            return
        lead = self._held_answers.lead if len(self._held_answers.lead) < active.room else ()
        if lead:
            self._engine.force(sequence, lead)
            active.lead(len(lead))
        self.hold(active, coming=len(lead))

    def arm(self, active: ActiveRequest) -> None:
        """Lets the model end the answer, which has begun, once the reply has the tokens that it must have."""
        if active.may_end and active.sequence is not None:
            active.arm()
            self._engine.arm_stops(active.sequence)

    def bans(self, active: ActiveRequest) -> frozenset[int]:
        """The tokens that a request may not sample from its beginning: markers, if its prompt has a closed thought."""
        skipped = active.request.thinking and active.exit_reason is not None  # the landing stands in the prompt
        if skipped or (not active.request.thinking and active.request.closed):
            active.seal()
        return self._banned_for(active.request) if active.sealed and self._masks else frozenset()

    def _banned_for(self, request: ReasoningRequest) -> frozenset[int]:
        """The markers that a request may not sample behind its thought: all but those that its tool calls need."""
        kept = () if request.calls is None else request.calls.kept
        return self._without(kept) if kept else self._banned

    def _banned_without(self, kept: tuple[str, ...]) -> frozenset[int]:
        return frozenset(token for token in self._banned if self._tokenizer.decode((token,)) not in kept)

    def hidden(self, active: ActiveRequest, token: int) -> bool:
        """Whether a token of the answer has no text: it ends the reply, or is a marker behind a closed thought."""
        if active.sealed and token in self._thinking.silent:
            active.avert(1)  # by an engine that cannot ban it
            return True
        return token in self._stop_tokens

    def ends(self, active: ActiveRequest, token: int) -> bool:
        """Whether a token of the answer, which has begun, ends the reply although the engine goes on."""
        return token in self._within and active.reply.answered and active.may_end

    def stops_at(self, active: ActiveRequest, token: int) -> bool:
        """Whether the next token of the answer, which has begun, is one at which the client wants it to end."""
        if token not in active.request.stop_ids or active.reciting:
            return False
        return active.reply.answered and active.long_enough

    def reproduces(self, active: ActiveRequest) -> bool:
        """Whether the same request with the same seed gets the same reply, whatever runs beside it.

        So it is if a row's logits do not depend on the batch, and the end of the thought on neither load nor time.
        """
        request = active.request
        own = request.fixed is not None or (not request.early_exit and request.budget is not None)
        timed = request.deadline_s is not None or active.exit_reason is ExitReason.REQUESTED
        exits = self._constant or own or not request.thinking or not self._certifies(request)
        return self._engine.capabilities.batch_invariant and exits and not timed

    def _seal(self, active: ActiveRequest) -> None:
        """Bans the markers for the rest of the reply: the thought is closed, or what closes it is on its way."""
        if not active.sealed:
            active.seal()
            if self._masks and active.sequence is not None:
                self._engine.ban(active.sequence, self._banned_for(active.request))

    def on_probe(self, active: ActiveRequest, event: Probed) -> None:
        """Passes a probe's trial answer to the observer, and adopts the probe if its result closes the thought."""
        if event.probe != active.probe:
            return  # the thought has ended in this same step, and the probe was dropped
        tried, trial = active.asked is Asks.TRIAL_ANSWER, self._trial(active)
        probes = active.note_probe(trial.read(event) if tried else event)
        if tried and active.observe is not None:
            active.observe(checkpoint(active, event, self._tokenizer))
        self.apply_limits(active)
        stands = StandingTrial(event, active.fork_at)
        why = active.rule.at(active.fork_at).verdict(active.asked, probes)
        if why is None and tried and hopeless(active.in_force, event, active.fork_at, active.asked_below):
            why, stands = (None, stands) if active.best is None else (ExitReason.HOPELESS, active.best)
        if why is not None:
            self._adopt(active, event, why, stands if tried else None)

    def _adopt(self, active: ActiveRequest, event: Probed, why: str, stands: StandingTrial | None) -> None:
        """Closes the thought with the probe that has just ended.

        `stands`: the trial whose answer the reply gets, this probe's or an earlier one's; None: the probe tried none.
        """
        trial, then = self._trial(active), active.landing
        answered: tuple[int, ...] = ()
        at: int | None = None
        if stands is None:  # the probe's first token, decoded again, belongs to the thought
            keep, put_in, recited = 1, len(then), self._beyond_close(then)
        else:
            suffix, keep, then = trial.spec.suffix, trial.kept(stands.probed, self._stop_tokens), ()
            put_in, recited = min(keep, len(suffix)), self._beyond_close(suffix[:keep])
            if keep > put_in:
                answered, at = self._answered(stands.probed), stands.at
                if stands.probed.probe != event.probe:  # its path is gone: its answer is forced behind this suffix
                    then, keep = stands.path[: keep - put_in], put_in
                    active.scores.expect(put_in, stands.probed.log_probs)
        self._engine.adopt(event.probe, keep=keep, then=then)
        active.adopt(
            why, kept_rows=min(keep, event.rows - event.repeated), recited=recited, put_in=put_in,
            again=0 if stands else keep, tried_at=at,
            confidence=stands.confidence if stands is not None and at is not None else None,
        )  # fmt: skip
        self._seal(active)
        self.hold(active, coming=keep + len(then), taken=answered)
        if stands is not None and trial.adopted:
            self.arm(active)  # the reply has its answer: the next sampled token may end it

    def _answered(self, probed: Probed) -> tuple[int, ...]:
        """Returns the tokens of a trial answer, with the stop token if one has ended it."""
        ended = probed.terminator is not None and probed.terminator in self._stop_tokens
        return (*probed.answer, probed.terminator) if ended and probed.terminator is not None else probed.answer

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
                self.hold(active, coming=len(active.landing))
            elif limits.probing and active.probe is None and not undecided:
                self._maybe_probe(active, sequence, limits.every)
        self._release(active)

    def close_reason(self, active: ActiveRequest, now: float) -> ExitReason | None:
        """Returns why the thought is to be closed now; None: it may go on."""
        if not active.thought and active.answers_at_once:
            return ExitReason.SKIPPED
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
        held = active.held
        if held is not None and not again and (active.request.calls is not None or not held.tried):
            return
        probe_spec = self._trial(active).spec if held is None or again else self._held_answers.probe(held)
        spec = active.rule.at(at).spec(probe_spec, active.thought[at - 1], self._thinking.watched)
        if every is None and not self._can_afford(active, spec, at):
            return
        below = give_up_below(active.in_force, at, active.best, spec.give_up_below)
        probe = self._engine.fork(sequence, replace(spec, give_up_below=below), back=back + again)
        active.ask(probe, asks, at=at, fork_at=at - again, below=below)

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
