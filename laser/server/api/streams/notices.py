"""What a stream tells of its request beside the reply, to who asks: how far it is, and what its probes have found."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from controller.serving.admission import Turn
from controller.serving.request import Checkpoint
from controller.serving.status import RequestProgress, Stage

StageWord = Literal["waiting", "started", "thinking", "answering"]


class ProbeNotice(BaseModel):
    """The trial answer of a probe."""

    thought_tokens: int  # length of the thought where it was asked
    answer: str  # what it answered
    confidence: float  # how sure the answer was
    gave_up: bool  # whether the probe ended early because it could not be sure enough any more

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> ProbeNotice:
        """Returns the notice of a probe that has ended."""
        return cls(
            thought_tokens=checkpoint.thought_tokens,
            answer=checkpoint.answer,
            confidence=round(checkpoint.confidence, 6),
            gave_up=checkpoint.gave_up,
        )


class ProgressNotice(BaseModel):
    """How far a request is."""

    stage: StageWord  # it waits for its turn, its prompt is being read, it thinks, or it answers
    position: int | None = None  # place in the queue; 1: starts next; null: it has started
    eta_s: float | None = None  # time until it is expected to start; null: it has started
    thought_tokens: int = 0  # length of the thought so far; a probe's answer may still shorten it
    budget: int | None = None  # thinking tokens, at most; null: there is no budget, or the request waits

    @classmethod
    def of_turn(cls, turn: Turn) -> ProgressNotice:
        """Returns the notice of a request that waits."""
        return cls(stage="waiting", position=turn.position, eta_s=round(turn.eta_s, 3))

    @classmethod
    def of(cls, progress: RequestProgress) -> ProgressNotice:
        """Returns the notice of a request that has left the queue."""
        begun: StageWord = "answering" if progress.stage is Stage.ANSWERING else "thinking"
        return cls(
            stage=begun if progress.tokens else "started",
            thought_tokens=progress.thought_tokens,
            budget=progress.budget,
        )

    @property
    def comment(self) -> bytes:
        """The same as a comment of a stream, for those who look at it without asking."""
        match self.stage:
            case "waiting":
                said = f"queue position {self.position}, eta {self.eta_s:.1f} s"
            case "thinking":
                most = "" if self.budget is None else f" of {self.budget}"
                said = f"thinking, {self.thought_tokens}{most} tokens"
            case _:
                said = self.stage
        return f": {said}\n\n".encode()
