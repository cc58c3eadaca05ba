"""What the serving loop shows of itself: what it holds, and what has ended lately. No text, no tokens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from controller.serving.request import ExitReason, Outcome
from engine.base import EngineLoad, FinishReason


class Stage(StrEnum):
    """How far a request has come."""

    WAITING = "waiting"  # for memory, or a place in the batch
    THINKING = "thinking"
    ANSWERING = "answering"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRequest:
    """A request in the engine."""

    number: int  # requests are numbered as they come
    difficulty: str | None
    stage: Stage
    age_s: float  # since it came
    tokens: int  # of the reply so far
    thought_tokens: int
    probes: int
    confidence: float | None  # of the last probe
    threshold: float | None  # in force at its last checkpoint
    budget: int | None  # the same, thinking tokens
    probing: bool  # the same: whether it is probed at all


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRequest:
    """A request that has ended, and why its thought did."""

    number: int
    at_s: float  # on the loop's clock
    difficulty: str | None
    finish_reason: FinishReason
    exit_reason: ExitReason | None  # None: there was no thought, or it never ended
    confidence: float | None
    threshold: float | None
    budget: int | None
    thought_tokens: int
    tokens: int  # of the reply
    probes: int
    queue_s: float
    total_s: float

    @classmethod
    def of(cls, number: int, at_s: float, difficulty: str | None, outcome: Outcome) -> EndedRequest:
        """An outcome without its tokens, so that many can be kept."""
        thought = outcome.thought
        return cls(
            number=number,
            at_s=at_s,
            difficulty=difficulty,
            finish_reason=outcome.finish_reason,
            exit_reason=thought.exit_reason if thought else None,
            confidence=thought.confidence if thought else None,
            threshold=thought.threshold if thought else None,
            budget=thought.budget if thought else None,
            thought_tokens=thought.tokens if thought else 0,
            tokens=outcome.completion_tokens,
            probes=thought.probes if thought else 0,
            queue_s=outcome.queue_s,
            total_s=outcome.total_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStatus:
    """The loop between two ticks."""

    at_s: float  # on the loop's clock
    load: EngineLoad  # whoever waits before the engine counts as waiting, too
    drain_s: float  # until all that wait have begun
    turned_away: int  # requests since the beginning
    arrived: int  # requests since the beginning
    finished: int  # requests since the beginning, failed ones included, cancelled ones not
    running: tuple[RunningRequest, ...]  # queued ones too, oldest first
    ended: tuple[EndedRequest, ...]  # the last of those that finished, oldest first
