"""The serving loop's status: the requests it holds and those that ended recently. Contains no text and no tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from controller.serving.reply import Delta
from controller.serving.request import Checkpoint, Outcome
from engine.base import EngineLoad, FinishReason
from models.profile.difficulty import ClassName

if TYPE_CHECKING:
    from controller.serving.active import ActiveRequest
    from controller.serving.admission import QueueState

ENDED = 256  # recently ended requests that the status keeps
TELL_S = 1.0  # between two reports of a request's progress in one stage


class Stage(StrEnum):
    """The stage that a request has reached."""

    WAITING = "waiting"  # for its turn, for memory, or for a place in the batch
    THINKING = "thinking"  # its thought is open
    ANSWERING = "answering"  # its thought is closed


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestProgress:
    """How far a request is that has left the queue, for a ProgressObserver."""

    stage: Stage
    tokens: int  # of the reply so far; 0: its prompt is being read
    thought_tokens: int  # length of its thought so far, which a probe's answer may still shorten
    budget: int | None  # in force, thinking tokens; None: none
    choice: int = 0  # the reply's place among those to one request

    @classmethod
    def of(cls, active: ActiveRequest) -> RequestProgress:
        """Returns how far a request is, or one of the replies to it."""
        length = len(active.thought) if active.thought_end is None else active.thought_end
        return cls(
            stage=active.stage,
            tokens=active.tokens,
            thought_tokens=length,
            budget=active.in_force.budget,
            choice=active.choice,
        )


ProgressObserver: TypeAlias = Callable[[RequestProgress], None]
ReplyItem: TypeAlias = Delta | Checkpoint | RequestProgress | Outcome
"""What comes of a request: pieces of text, trial answers, how far it is, and the end of each reply."""


class LoopTally:
    """How many requests have come to a loop, how many replies have ended, and which ended last."""

    def __init__(self) -> None:
        self.arrived = self.finished = self.replies = 0
        self._ended: deque[EndedRequest] = deque(maxlen=ENDED)

    def end(self, active: ActiveRequest, now: float, made: Outcome) -> None:
        """A request has ended, or one of the replies to it."""
        self.finished += not made.going_on
        self.replies += 1
        self._ended.append(EndedRequest.of(active.id, now, active.request.difficulty, made))

    def status(self, now: float, load: EngineLoad, queue: QueueState, requests: Sequence[ActiveRequest]) -> LoopStatus:
        """Returns the loop's state; `requests`: those that wait or run."""
        return LoopStatus(
            at_s=now,
            load=replace(load, waiting=len(requests) - load.running - load.paused),
            drain_s=queue.drain_s,
            turned_away=queue.turned_away,
            arrived=self.arrived,
            finished=self.finished,
            replies=self.replies,
            running=tuple(RunningRequest.of(active, now) for active in requests),
            ended=tuple(self._ended),
        )


class ProgressWatch:
    """Tells an observer of a request's progress: at once in a new stage and with the first token, else every TELL_S."""

    def __init__(self, tell: ProgressObserver) -> None:
        self._tell = tell
        self._told_s = 0.0
        self._told: tuple[Stage, bool] | None = None  # None: nothing has been told

    def see(self, now: float, progress: RequestProgress) -> None:
        """Takes how far the request is, and tells it if it is time."""
        phase = progress.stage, progress.tokens > 0
        if self._told != phase or now - self._told_s >= TELL_S:
            self._told_s, self._told = now, phase
            self._tell(progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRequest:
    """A request that waits or runs."""

    number: int  # requests are numbered in order of submission
    difficulty: ClassName | None  # difficulty class; None: unknown
    stage: Stage  # how far it is
    age_s: float  # since submission
    tokens: int  # of the reply so far
    thought_tokens: int  # length of its thought so far
    probes: int  # number of its probes so far
    confidence: float | None  # of the trial answer that became the reply's, else of the last one; None: none yet
    threshold: float | None  # in force at the last checkpoint; None: none
    budget: int | None  # in force at the last checkpoint, thinking tokens; None: none
    probing: bool  # whether the limits in force at the last checkpoint ask for probes

    @classmethod
    def of(cls, active: ActiveRequest, now: float) -> RunningRequest:
        """Returns the entry of a request, or of one of the replies to it; `now`: on the loop's clock."""
        return cls(
            number=active.id,
            difficulty=active.request.difficulty,
            stage=active.stage,
            age_s=now - active.submitted_s,
            tokens=active.tokens,
            thought_tokens=len(active.thought),
            probes=active.probes,
            confidence=active.confidence,
            threshold=active.in_force.threshold,
            budget=active.in_force.budget,
            probing=active.in_force.probing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRequest:
    """A request that has ended, and why its thought ended."""

    number: int  # requests are numbered in order of submission
    at_s: float  # on the loop's clock
    difficulty: ClassName | None  # difficulty class; None: unknown
    finish_reason: FinishReason  # why it ended
    exit_reason: str | None  # as in Thought; None: there was no thought, or it never ended
    confidence: float | None  # of the trial answer that became the reply's, else of the last one; None: there was none
    threshold: float | None  # in force when the thought ended; None: none was
    budget: int | None  # in force when the thought ended, thinking tokens; None: none was
    thought_tokens: int  # length of its thought
    tokens: int  # of the reply
    probes: int  # number of its probes
    queue_s: float  # until it began
    total_s: float  # until its last token

    @classmethod
    def of(cls, number: int, at_s: float, difficulty: str | None, outcome: Outcome) -> EndedRequest:
        """Returns an outcome without its tokens, so that the loop can keep many."""
        thought = outcome.thought
        return cls(
            number=number,
            at_s=at_s,
            difficulty=difficulty,
            finish_reason=outcome.finish_reason,
            exit_reason=thought.exit_reason,
            confidence=thought.confidence,
            threshold=thought.threshold,
            budget=thought.budget,
            thought_tokens=thought.tokens,
            tokens=outcome.completion_tokens,
            probes=thought.probes,
            queue_s=outcome.queue_s,
            total_s=outcome.total_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStatus:
    """The loop's state between two ticks."""

    at_s: float  # on the loop's clock
    load: EngineLoad  # the engine's, except that `waiting` also counts requests queued before the engine
    drain_s: float  # expected time until all waiting requests have begun
    turned_away: int  # requests since the beginning
    arrived: int  # requests since the beginning
    finished: int  # requests since the beginning, failed ones included, cancelled ones not
    replies: int  # to those, and to requests of which other choices go on: each choice is one
    running: tuple[RunningRequest, ...]  # queued requests too, oldest first
    ended: tuple[EndedRequest, ...]  # the last of `replies`, oldest first
