"""The state of a request that waits or is being served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from controller.policy import Limits
from controller.serving.answers.held import HeldAnswer
from controller.serving.choices.scores import ReplyScores, TokenScore
from controller.serving.choices.together import Together
from controller.serving.fair_queue import Claim
from controller.serving.ordering.phases import RequestPhases
from controller.serving.reply import Reply
from controller.serving.request import (
    UNLIMITED_ENDS,
    ExitReason,
    ProbeObserver,
    ReasoningRequest,
    RequestId,
    Sink,
)
from controller.serving.signals.base import Asks
from controller.serving.signals.exit_rule import ExitRule
from controller.serving.signals.give_up import StandingTrial, better
from controller.serving.status import ProgressWatch, RequestProgress, Stage
from engine.base import FinishReason, Probed, ProbeId, TokenLogProbs
from models.formats.ending import EndFinder, Ending

if TYPE_CHECKING:
    from controller.serving.choices.race import Race


@dataclass(slots=True, kw_only=True, eq=False)
class ActiveRequest(RequestPhases):
    """A request between submission and outcome. Others read its state and change it by its methods alone.

    Thought tokens are released to the reply once no probe can withdraw them any more. Times are on the loop's clock.
    """

    id: RequestId
    request: ReasoningRequest
    sink: Sink
    observe: ProbeObserver | None  # None: trial answers are not reported
    on_begin: Callable[[], None] | None = None  # called when the request leaves the queue; None: nobody asks
    watch: ProgressWatch | None = None  # None: the progress is not reported
    reply: Reply
    submitted_s: float
    landing: tuple[int, ...]  # tokens forced to close the thought when the loop cuts it
    finder: EndFinder | None  # of the closing marker in the text; None: a single token is the marker
    budget_cap: int  # thinking tokens, at most, that max_tokens leaves
    answer_room: int  # tokens of max_tokens reserved for the answer
    prompt_tokens: int
    cells: int  # KV cache cells (tokens) that the request may need, those of a probe included
    claim: Claim  # for the fair queue, with the tokens charged in advance, those of all choices
    together: Together  # the replies to one request that have not ended
    choice: int = 0  # the place of its reply among those
    race: Race | None = None  # the race that its thought is in; None: its reply is served whatever others do
    held: HeldAnswer | None = None  # None: no grammar holds the answer

    # its phase
    begun: bool = False  # the request has left the queue for the engine
    thinking: bool = field(init=False)  # the next token belongs to the thought
    ending: bool = False  # the thought is to be closed as soon as possible
    exit_reason: str | None = None  # why the thought is over or being closed; None: it goes on
    armed: bool = False  # stop tokens may be sampled
    sealed: bool = False  # the thought is over or being closed, so the model may write no marker of thinking any more

    # its limits
    in_force: Limits = field(default_factory=Limits)
    rule: ExitRule = field(default_factory=ExitRule)  # the signals of `in_force`
    grant: object = None  # what the policy's keeper lets it meet; None: the policy has no keeper
    held_back: bool = False  # as it began, the keeper held it to other limits than the policy's
    _policy: Limits | None = None  # those that `in_force` was derived from; None: not yet

    # what was decoded
    tokens: int = 0  # of the reply
    answer_tokens: int = 0
    withdrawn: int = 0  # tokens decoded beside a probe that was then adopted
    averted: int = 0  # tokens in whose place the model chose a marker of thinking, which is kept out of the answer
    put_in: int = 0  # of `tokens`, once they have come: the server's words that close the thought
    put_before: int = 0  # of `prompt_tokens`: the same, where they close it in the prompt
    thought: list[int] = field(default_factory=list)
    again: int = 0  # tokens of the thought that the adopted probe has decoded again
    _recited: int = 0  # leading answer tokens of the closing, in which no stop string counts
    thought_end: int | None = None  # the thought's length before its closing; None: not forced
    _waited: int = 0  # times that a cut has waited for a marker to be decided
    _released: int = 0  # thought tokens passed to the reply

    # its probes
    probe: ProbeId | None = None  # None: no probe is running
    asked: Asks = Asks.TRIAL_ANSWER  # what the last probe decodes
    fork_at: int = 0  # thought tokens kept if the running probe is adopted
    last_probe_at: int = 0  # thought tokens before the place of the last probe
    asked_below: float = 0.0  # the confidence below which the last probe may end early
    confidence: float | None = None  # of the trial answer that was adopted, else of the last one; None: none yet
    best: StandingTrial | None = None  # trial answer so far; None: none was whole
    tried_at: int | None = None  # the thought's length at the trial whose answer was adopted; None: none was
    probes: int = 0
    probe_rows: int = 0
    _ended: dict[Asks, list[Probed]] = field(default_factory=lambda: {asks: [] for asks in Asks})

    scores: ReplyScores = field(init=False)  # how likely the tokens were that have come
    unrecited: int = field(init=False)  # tokens of the prompt that are to come, since their scores are wanted
    prompt_scores: list[TokenScore] = field(default_factory=list)  # of those that have come

    def __post_init__(self) -> None:
        self.thinking = self.request.thinking
        self.scores = ReplyScores(wanted=self.request.log_probs is not None)
        self.unrecited = len(self.request.prompt) - 1 if self.request.scores_prompt else 0
        self.together.add(self)

    @property
    def stage(self) -> Stage:
        """The request's present stage."""
        if self.started_s is None:
            return Stage.WAITING
        return Stage.THINKING if self.thinking else Stage.ANSWERING

    @property
    def owner(self) -> ActiveRequest:
        """What its client asked for: the first thought of its race, or itself."""
        return self if self.race is None else self.race.lead

    @property
    def deadline_s(self) -> float | None:
        """When the request must have ended, on the loop's clock; None: it has no deadline."""
        return None if self.request.deadline_s is None else self.submitted_s + self.request.deadline_s

    @property
    def rows(self) -> int:
        """Token rows decoded for the request."""
        return self.tokens + self.withdrawn + self.probe_rows

    @property
    def cost(self) -> int:
        """Tokens computed for the request, its prompt included; 0 before it has started."""
        return 0 if self.started_s is None else self.own_prompt + self.rows

    @property
    def own_prompt(self) -> int:
        """The tokens of its prompt, without those that were prefilled for another choice."""
        return self.prompt_tokens - (len(self.request.prompt) if self.choice else 0)

    # --- phases -----------------------------------------------------------------------------------------------------

    def begin(self, step: int) -> None:
        """The request leaves the queue, after the loop's step `step`."""
        self.begun, self.begun_step = True, step
        if self.on_begin is not None:
            self.on_begin()

    def join(self, race: Race, hear: Sink) -> None:
        """Its thought is in a race, which hears what it says, in its client's place."""
        self.race, self.sink = race, hear
        self.reply.turn_to(hear)

    def end_thought(self) -> bool:
        """Has the thought closed as soon as possible; returns False if it is not running."""
        if not self.thinking or self.exit_reason is not None:
            return False
        self.ending = True
        return True

    def obey(self, policy: Limits, rule: Callable[[Limits], ExitRule]) -> Limits:
        """Derives the limits in force from the policy's limits, the request's own settings and the budget cap.

        `rule` returns the signals of limits.
        """
        policy = self.request.fixed or policy
        if policy is not self._policy and policy != self._policy:  # by value; mostly it is the same object anyway
            wanted, made, own = policy, rule(policy), self.request.budget
            if not self._may_be_probed(made):
                wanted, made = policy.unprobed(), ExitRule()
            budget = policy.budget if own is None else own
            budget = self.budget_cap if budget is None else min(budget, self.budget_cap)
            self.rule, self.in_force = made, replace(wanted, budget=budget)
            self._policy = policy
        return self.in_force

    @property
    def answers_at_once(self) -> bool:
        """Whether the policy has the prompt answered without thought, and the request leaves that to it."""
        return self.request.answered_at_once(self.in_force)

    def _may_be_probed(self, rule: ExitRule) -> bool:
        """Whether the rule's probes are wanted: trial answers, only where one can stand for the reply."""
        tries = rule.read_at_all and rule.asks is Asks.TRIAL_ANSWER
        return self.request.early_exit and (self.request.tried or not tries)

    # --- the thought ------------------------------------------------------------------------------------------------

    def think(self, tokens: Sequence[int]) -> None:
        """Tokens of the thought have come."""
        self.thought.extend(tokens)
        self.tokens += len(tokens)
        self.scores.think(len(tokens))

    def skip_thought(self, reason: str) -> None:
        """The landing is to close the thought in the prompt."""
        self.exit_reason = reason
        self.put_before = len(self.landing)
        self.prompt_tokens += self.put_before

    def show_landing(self, marker: Ending) -> None:
        """Adds the landing that closed the thought in the prompt to the reply; `marker`: the closing one's place."""
        self.reply.push(*self.landing[: marker.start])
        self._turn_to_answer(marker if self.held is None else replace(marker, tail=""))
        self.reply.recite(*self.landing[marker.end :])

    @property
    def exited(self) -> bool:
        """Whether a limit has closed the thought, so that the reply has met what it was charged for."""
        return self.exit_reason is not None and self.exit_reason not in UNLIMITED_ENDS

    @property
    def undecided(self) -> bool:
        """Whether the thought's newest text may be the beginning of the marker that ends it."""
        return self.finder is not None and self.finder.pending

    def waits(self, most: int) -> bool:
        """Whether a cut waits once more until it is decided whether the thought ends with its marker.

        It waits `most` times; a text that goes on and on looking like the beginning of a marker is none.
        """
        self._waited += 1
        return self._waited <= most

    def cut_thought(self, reason: str, *, recited: int) -> None:
        """The landing is forced to close the thought here; `recited` of its tokens follow the closing marker."""
        self.exit_reason = reason
        self.thought_end = len(self.thought)
        self._recited = recited
        self.put_in = len(self.landing)

    def close_thought(self, marker: Ending, *, said: bool = True) -> None:
        """The closing marker has come, sampled or forced, and is the thought's end now. No probe may be running.

        `said`: the text that has come with it is the answer's.
        """
        self._cut(marker.start)
        self._turn_to_answer(marker if said else replace(marker, tail=""))

    def end_in_the_open(self, start: int) -> tuple[int, ...]:
        """The thought in the open has ended before its token `start`; returns the tokens of the answer among it."""
        said = tuple(self.thought[start:])
        self.scores.return_from(start)
        del self.thought[start:]
        self.tokens -= len(said)
        self._end_thought()
        return said

    def release(self, end: int) -> None:
        """Passes the thought's tokens before `end` to the reply: no probe can withdraw them, and no marker is there."""
        if self.finder is not None and self.thinking:
            end = min(end, self.finder.undecided)
        if self._released < end:
            scores = self.scores.of_thought(self._released, end)
            self.reply.push(*self.thought[self._released : end], scores=scores)
            self._released = end

    def _cut(self, end: int) -> None:
        del self.thought[end:]
        self.scores.cut(end)

    def _turn_to_answer(self, marker: Ending) -> None:
        own = self.exit_reason is None
        self._end_thought()
        self.reply.close_thought(marker.head, marker.tail, own=own)

    def _end_thought(self) -> None:
        self.exit_reason = self.exit_reason or ExitReason.NATURAL
        self.thinking = False
        self.release(len(self.thought))

    # --- probes -----------------------------------------------------------------------------------------------------

    def ask(self, probe: ProbeId, asked: Asks, *, at: int, fork_at: int, below: float) -> None:
        """A probe has been forked, for the place after `at` thought tokens, from `fork_at` of them.

        It may end early where it cannot reach the confidence `below`.
        """
        self.probe, self.asked, self.last_probe_at, self.fork_at = probe, asked, at, fork_at
        self.asked_below = below
        self.probes += 1

    def note_probe(self, probed: Probed) -> Sequence[Probed]:
        """The running probe has ended. Returns all probes of its kind that have, oldest first."""
        self.probe = None
        self.probe_rows += probed.rows
        if self.asked is Asks.TRIAL_ANSWER:
            self.confidence = probed.confidence
            self.best = better(self.best, probed, self.fork_at)
        ended = self._ended[self.asked]
        ended.append(probed)
        return ended

    def drop_probe(self, rows: int) -> None:
        """The running probe was stopped and has cost `rows` token rows."""
        self.probe = None
        self.probe_rows += rows

    @property
    def beyond(self) -> int:
        """Tokens that the thought has decoded beside the last probe."""
        return len(self.thought) - self.fork_at

    def adopt(
        self, reason: str, *, kept_rows: int, recited: int, put_in: int, again: int, tried_at: int | None = None,
        confidence: float | None = None,
    ) -> None:  # fmt: skip
        """The probe that has just ended closes the thought: what was decoded beside it is withdrawn.

        `kept_rows` of the probe's rows become the reply's; `recited` tokens follow the closing marker; `put_in` of the
        tokens that come now are the server's, and the first `again` are of the thought. `tried_at`: the thought's
        length at the trial whose answer the reply gets, `confidence`: that trial's; None: it gets none's.
        """
        self.exit_reason, self.tried_at = reason, tried_at
        self.confidence = self.confidence if confidence is None else confidence
        self.put_in, self.again = put_in, again
        self.withdrawn += self.beyond
        self.tokens -= self.beyond
        self._cut(self.fork_at)
        self.thought_end = self.last_probe_at
        if self.finder is not None:
            self.finder.rewind(self.thought)
        self.probe_rows -= kept_rows
        self._recited = recited

    # --- the answer -------------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """The tokens that the reply may still have, those not counted that are forced and on their way."""
        return self.request.max_tokens - self.tokens

    def ended_by(self, reason: FinishReason) -> FinishReason:
        """Returns why the reply has ended, of which the engine gives `reason`: one that is whole is not cut."""
        whole = reason is FinishReason.LENGTH and self.held is not None and self.held.whole
        return FinishReason.STOP if whole else reason

    def lead(self, tokens: int) -> None:
        """As many tokens of the server's are forced between the closing marker and the answer."""
        self.put_in += tokens

    def recite(self, tokens: Sequence[int], known: Sequence[TokenLogProbs | None]) -> None:
        """Tokens of the prompt have come."""
        self.unrecited -= len(tokens)
        self.prompt_scores += filter(None, map(TokenScore.of, tokens, known))

    def answer(self, token: int, *, visible: bool) -> None:
        """A token of the answer has come; `visible`: it has text."""
        say = self.reply.recite if self.reciting or not self.long_enough else self.reply.push
        scores = self.scores.next()
        self.tokens += 1
        self.answer_tokens += 1
        if visible:
            say(token, scores=scores)

    @property
    def reciting(self) -> bool:
        """Whether the next token of the answer belongs to the closing, and is the server's word."""
        return self.answer_tokens < self._recited

    @property
    def long_enough(self) -> bool:
        """Whether the reply has as many tokens as it must have before it may end."""
        return self.tokens - min(self.put_in, self.tokens) >= self.request.min_tokens

    @property
    def may_end(self) -> bool:
        """Whether the model may end the reply where it has a visible character."""
        return self.long_enough and not self.request.endless

    def seal(self) -> None:
        """The model may write no marker of thinking from now on."""
        self.sealed = True

    def avert(self, tokens: int) -> None:
        """The model has chosen `tokens` markers that were kept out of the answer."""
        if not self.request.scores_prompt:  # there they are the prompt's own, or stop tokens
            self.averted += tokens

    def arm(self) -> None:
        """The model may end the answer from now on."""
        self.armed = True

    def leave_unsaid(self, tokens: int) -> None:
        """A stop string has ended the answer before `tokens` more of an adopted probe: they stay the probe's rows."""
        self.probe_rows += tokens

    def tell_progress(self, now: float) -> None:
        """Tells how far the request is, if someone watches and it is time."""
        if self.watch is not None:
            self.watch.see(now, RequestProgress.of(self))
