"""The serving loop's inputs and outputs: a request, the trial answers of its thought, and its outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NewType, TypeAlias

from controller.policy import Limits
from controller.serving.choices.scores import TokenScore
from controller.serving.fair_queue import Claim
from controller.serving.reply import Delta
from engine.base import FinishReason, Sampling
from models.grammar.grammar import Grammar
from models.kinds.kind import AnswerForm, AnswerKind
from models.tools.offer import CallMarks, ToolCall

RequestId = NewType("RequestId", int)


class ExitReason(StrEnum):
    """Why a thought ended, as far as the house knows. Another exit signal gives its own `reason`, a str like these."""

    NATURAL = "natural"  # the model closed the thought
    CONFIDENCE = "confidence"  # a probe's confidence reached the threshold
    CONSISTENCY = "consistency"  # probes in a row gave the same answer
    MARGIN = "margin"  # the closing marker was nearly the likeliest token
    HOPELESS = "hopeless"  # a probe's confidence lay below the lower curve: the best trial so far is the answer
    PRICE = "price"  # by its index, more thought was expected to win less than its token rows cost under the load
    SKIPPED = "skipped"  # the prompt's score told that no thought is needed: it was answered at once
    BUDGET = "budget"  # the thought's token budget was spent
    LOOP = "loop"  # the thought repeated itself
    DEADLINE = "deadline"  # the time left until the request's deadline was needed for the answer
    REQUESTED = "requested"  # a call to `end_thought` asked for the answer now


CUTS = frozenset({ExitReason.SKIPPED, ExitReason.BUDGET, ExitReason.LOOP, ExitReason.DEADLINE, ExitReason.REQUESTED})
"""The stop rules' reasons: the loop cut the thought with the landing, and no probe was asked."""
UNLIMITED_ENDS = CUTS - {ExitReason.SKIPPED, ExitReason.BUDGET} | {ExitReason.NATURAL}
"""Reasons of thoughts that no limit of the policy has ended."""


class Close(StrEnum):
    """Who closed a thought."""

    MODEL = "model"  # the model itself
    FORCED = "forced"  # the loop, for any other ExitReason
    PROMPT = "prompt"  # nobody: thinking was off, or the thought did not end


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningRequest:
    """One chat turn to answer. `max_tokens` bounds thought and answer together.

    The prompt ends inside an open thought if `thinking`, else after an empty thought or without one.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    thinking: bool = True
    closed: bool = False  # the prompt has the reply's thought, closed: none may be begun behind it
    continues: bool = False  # the reply goes on with a text of the prompt, from its first white space on
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    budget: int | None = None  # the client's own thinking budget, tokens, in place of the policy's; None: the policy's
    max_budget: int | None = None  # upper bound of the budget, the client's or the policy's; None: no bound
    early_exit: bool = True  # False: the client wants its thought unprobed
    difficulty: str | None = None  # difficulty class; None: unknown
    ease: float | None = None  # chance that no thought is needed, told from the prompt; None: unknown
    landing: tuple[int, ...] | None = None  # tokens that close the thought if it is cut; None: the thinking format's
    deadline_s: float | None = None  # since it came; the thought is cut in time for the answer; None: no deadline
    waited_s: float = 0.0  # before its submission; all its times, and its deadline, count from when it came
    ttft_s: float | None = None  # longest expected wait in the queue that the client accepts; None: any
    name: str = ""  # identifies the request in the queue's status
    claim: Claim = field(default_factory=Claim)  # for the fair queue
    calls: CallMarks | None = None  # of tool calls, which may end the thought; None: no tool is offered
    answer: AnswerKind = AnswerKind.SHORT  # what the reply is to be; only short answers are tried by probes
    form: AnswerForm = AnswerForm.BOX  # how a short answer is written
    grammar: Grammar | None = None  # what the answer is held to; None: nothing

    @property
    def tried(self) -> bool:
        """Whether a trial answer can stand for the reply."""
        return self.answer is AnswerKind.SHORT or (self.grammar is not None and self.calls is None)

    # what is drawn, how often, and where it may end
    choices: int = 1  # replies to make of the prompt; the seed of each is one higher than the last one's
    log_probs: int | None = None  # the likeliest tokens to tell beside each token's own probability; None: tell neither
    min_tokens: int = 0  # tokens of thought and answer before the reply may end
    endless: bool = False  # the model may not end the reply; stops and max_tokens do
    stop_ids: frozenset[int] = frozenset()  # tokens that end the answer, as `stop` does
    fixed: Limits | None = None  # the client's own limits of the thought, in place of the policy's; None: the policy's
    scores_prompt: bool = False  # the prompt's log probabilities are told, too; then one token may follow, no thought

    def __post_init__(self) -> None:
        if self.scores_prompt:
            self._check_scored()
        if self.choices < 1:
            raise ValueError(f"choices is {self.choices}, must be at least 1")
        if not 0 <= self.min_tokens <= self.max_tokens:
            raise ValueError(f"min_tokens is {self.min_tokens}, must lie in 0…{self.max_tokens}, which max_tokens is")

    def _check_scored(self) -> None:
        """Raises ValueError for what a request that has its prompt scored may not be."""
        least = 1 if len(self.prompt) == 1 else 0
        if not least <= self.max_tokens <= 1:
            raise ValueError(f"max_tokens is {self.max_tokens}, must lie in {least}…1 where the prompt is scored")
        wrong = self.thinking or self.grammar is not None or self.choices > 1 or self.log_probs is None
        if wrong:
            raise ValueError("a scored prompt is for one reply with log probabilities, no thought and no grammar")

    @property
    def most_steps(self) -> int:
        """The most steps in which a token of it is decoded."""
        return self.max_tokens + (len(self.prompt) - 1 if self.scores_prompt else 0)

    @property
    def patience_s(self) -> float | None:
        """What is left at its submission of the longest expected wait that the client accepts; None: any."""
        return None if self.ttft_s is None else max(0.0, self.ttft_s - self.waited_s)

    @property
    def overdue(self) -> bool:
        """Whether its deadline has passed before its submission."""
        return self.deadline_s is not None and self.deadline_s <= self.waited_s

    @property
    def left_to_policy(self) -> bool:
        """Whether the policy alone limits its thought."""
        return self.thinking and self.early_exit and self.tried and self.budget is None and self.fixed is None

    def answered_at_once(self, limits: Limits) -> bool:
        """Whether a policy of these limits has it answered without thought, as it leaves to the policy."""
        return self.left_to_policy and self.calls is None and limits.skips(self.ease)

    def alone(self, choice: int) -> ReasoningRequest:
        """Returns the request for one of its choices, counted from 0."""
        if not choice:
            return self
        sampling = replace(self.sampling, seed=self.sampling.seed + choice)
        return replace(self, sampling=sampling, name=f"{self.name}#{choice}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A trial answer on a running thought, for a ProbeObserver."""

    thought_tokens: int  # length of the thought at the fork of the probe
    beyond: int  # tokens that the thought has decoded beside the probe
    answer: str
    confidence: float
    joint: float  # probability of the answer as a whole, whichever score the confidence uses
    log_probs: tuple[float, ...]  # of the answer's tokens
    gave_up: bool  # the probe ended early because the threshold was out of reach
    rows: int  # token rows that the probe cost
    choice: int = 0  # the reply's place among those to one request


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """How a thought ended, and its cost."""

    exit_reason: str | None  # an ExitReason, or another exit signal's; None: no thought, or it did not end (NO_THOUGHT)
    threshold: float | None  # in force when the thought ended; None: none was
    budget: int | None  # in force when the thought ended, tokens; None: none was
    confidence: float | None  # of the trial answer that became the reply's, else of the last one; None: there was none
    ids: tuple[int, ...]  # the thought's tokens, without those that were forced to close it
    withdrawn_tokens: int  # decoded beside a probe that was then adopted
    probes: int
    probe_rows: int  # suffixes and trial answers, less the part of an adopted one that belongs to the reply
    tried_at: int | None = None  # the thought's length at the trial whose answer is the reply's; None: no trial's is

    @property
    def tokens(self) -> int:
        """Length of the thought."""
        return len(self.ids)


NO_THOUGHT = Thought(
    exit_reason=None, threshold=None, budget=None, confidence=None, ids=(), withdrawn_tokens=0, probes=0, probe_rows=0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a request ended. Times start where it came."""

    finish_reason: FinishReason
    # prefilled tokens, with those that opened or closed the thought in the model's place; of several choices to one
    # request the first has the prompt's
    prompt_tokens: int
    completion_tokens: int  # all tokens of the reply: thought, markers, answer
    thought: Thought  # NO_THOUGHT: thinking was off, or the thought did not end
    queue_s: float  # until its prefill began, or until it ended in the queue
    total_s: float
    put_in: int = 0  # of completion_tokens: words of the server's, which closed the thought or asked for the answer
    put_before: int = 0  # of prompt_tokens: the landing, where it closed the thought in the prompt
    ttft_s: float | None = None  # until the first token of the reply; None: there was none
    averted: int = 0  # markers of thinking that the model chose behind the closed thought, kept out of the answer
    expired: bool = False  # the deadline passed before the request could begin
    retry_after_s: float | None = None  # gave way in a full queue and may be sent again after this; None: did not
    error: str | None = None  # why the request failed; None: it did not
    choice: int = 0  # the reply's place among those to one request
    going_on: int = 0  # replies to the same request that have not ended
    reproducible: bool = False  # the same request with the same seed gets the same reply, whatever runs beside it
    stopped_by: str | None = None  # the stop string that ended the answer; None: none did
    calls: tuple[ToolCall, ...] = ()  # in the answer; who serves tools reads them from its text
    prompt_scores: tuple[TokenScore, ...] = ()  # of the prompt's tokens but the first, where they are asked for
    width: int = 1  # thoughts of the prompt that raced
    raced_rows: int = 0  # token rows of those that lost
    raced_tokens: int = 0  # of `raced_rows`: what the model decoded and was not withdrawn, without probes

    @property
    def close(self) -> Close:
        """Who closed the thought."""
        match self.thought.exit_reason:
            case None:
                return Close.PROMPT
            case ExitReason.NATURAL:
                return Close.MODEL
            case _:
                return Close.FORCED

    @property
    def sent_tokens(self) -> int:
        """Tokens of what the client sent, in the model's chat template."""
        return self.prompt_tokens - self.put_before

    @property
    def decoded_tokens(self) -> int:
        """Tokens that the model decoded for the reply, without those that were withdrawn or that probes cost."""
        return self.completion_tokens - self.put_in

    @property
    def generated_tokens(self) -> int:
        """Tokens that the model decoded for the request: of the reply, and of thoughts that have lost its race."""
        return self.decoded_tokens + self.raced_tokens

    @property
    def rows(self) -> int:
        """Token rows decoded for the reply: its tokens, the withdrawn ones, those of probes, those of lost thoughts."""
        return self.completion_tokens + self.thought.withdrawn_tokens + self.thought.probe_rows + self.raced_rows


Sink: TypeAlias = Callable[[Delta | Outcome], None]
ProbeObserver: TypeAlias = Callable[[Checkpoint], None]
