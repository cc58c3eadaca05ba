"""What the serving loop takes and gives: a request, the probes of its thought, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType, TypeAlias

from controller.serving.fair_queue import Claim
from controller.serving.reply import Delta
from engine.base import FinishReason, Sampling

RequestId = NewType("RequestId", int)


class ExitReason(StrEnum):
    """Why a thought ended."""

    NATURAL = "natural"  # the model closed it
    CONFIDENCE = "confidence"  # a probe's confidence reached the threshold
    CONSISTENCY = "consistency"  # probes in a row gave the same answer
    MARGIN = "margin"  # the closing marker was nearly the likeliest token
    BUDGET = "budget"  # its token budget was spent
    LOOP = "loop"  # it went round in circles
    DEADLINE = "deadline"  # what was left of the request's time went to the answer
    REQUESTED = "requested"  # somebody asked for the answer now


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningRequest:
    """One chat turn to answer. `max_tokens` bounds thought and answer together.

    The prompt ends inside an open thought if `thinking`, else behind an empty or absent one.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    thinking: bool = True
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    budget: int | None = None  # the client's own thinking budget, tokens; replaces the policy's
    max_budget: int | None = None  # whoever's budget it is, it is at most this
    early_exit: bool = True  # False: the client wants its thoughts unprobed
    difficulty: str | None = None
    landing: tuple[int, ...] | None = None  # what closes the thought where it is cut; None: the thinking format's
    deadline_s: float | None = None  # after it was submitted; the thought is cut in time for the answer
    ttft_s: float | None = None  # the longest wait that the client would bear
    name: str = ""  # the client's, for whoever looks at the queue
    claim: Claim = field(default_factory=Claim)  # on a turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A trial answer on a running thought, for whoever watches."""

    thought_tokens: int  # that the trial answer continues
    beyond: int  # tokens that the thought has decoded beside the probe
    answer: str
    confidence: float
    joint: float  # probability of the answer as a whole, whatever the confidence in force
    log_probs: tuple[float, ...]  # of the answer's tokens
    gave_up: bool  # ended early, since the threshold was out of reach
    rows: int  # token rows it cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """How a thought went, and its price.

    Token rows decoded for a reply in all: its completion tokens, `withdrawn_tokens` and `probe_rows`.
    """

    exit_reason: ExitReason
    threshold: float | None  # in force when it ended
    budget: int | None  # in force when it ended, tokens
    confidence: float | None  # of the last trial answer
    ids: tuple[int, ...]  # the thought itself; what was forced to close it is no part of it
    withdrawn_tokens: int  # decoded beside a probe that was then adopted
    probes: int
    probe_rows: int  # suffixes and trial answers, less what of an adopted one is part of the reply

    @property
    def tokens(self) -> int:
        """How long the thought is."""
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a request ended."""

    finish_reason: FinishReason
    prompt_tokens: int  # prefilled: with what opened or closed the thought on the model's behalf
    completion_tokens: int  # all tokens of the reply: thought, markers, answer
    thought: Thought | None  # None: thinking was off
    queue_s: float  # until its prefill began
    total_s: float
    ttft_s: float | None = None  # until the first token of the reply; None: there was none
    expired: bool = False  # its deadline has passed before it could begin
    retry_after_s: float | None = None  # it gave way in a full queue, and may come back then
    error: str | None = None


Sink: TypeAlias = Callable[[Delta | Outcome], None]
ProbeObserver: TypeAlias = Callable[[Checkpoint], None]
