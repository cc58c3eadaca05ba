"""An API surface of one file: a question in, one line of JSON out, and errors in words of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, Outcome
from laser.server.api.errors import ApiError
from laser.server.api.fields import Count, GenerationFields
from laser.server.api.shape import NO_SCORES, ReplyHeader, Scores, Surface, event, finish_word
from laser.server.api.streams.notices import ProgressNotice
from laser.server.api.tools.reply import CallDelta
from models.chat_model import ChatModel, Prompt


class ToyQuestion(GenerationFields):
    """A question."""

    question: str
    length: Count | None = None

    @property
    def limit(self) -> int | None:
        return self.length

    @property
    def limit_name(self) -> str:
        return "length"

    @property
    def prompt_name(self) -> str:
        return "question"

    def prompt_tokens(self, chat: ChatModel) -> Prompt:
        return chat.begin([{"role": "user", "content": self.question}], thinking=self.policy.enabled)


class ToyAnswer(BaseModel):
    """An answer, and the length of the thought before it."""

    id: str
    answer: str
    thought_tokens: int


class ToyError(BaseModel):
    """What was wrong."""

    wrong: str
    status: int


@dataclass(frozen=True, slots=True)
class ToyShape:
    """See `laser.server.api.shape.ReplyShape`. A stream sends the answer in pieces, then the thought's length."""

    identity: ReplyHeader

    def whole(self, reasoning: str, content: str, outcome: Outcome, scores: Scores = NO_SCORES) -> ToyAnswer:
        finish_word(outcome)  # raises ApiError if the request failed
        return ToyAnswer(id=self.identity.id, answer=content, thought_tokens=outcome.thought.tokens)

    def opening(self) -> bytes:
        return b""

    def piece(self, delta: Delta) -> bytes:
        return event({"piece": delta.text}) if delta.channel is Channel.CONTENT else b""

    def called(self, call: CallDelta) -> bytes:
        return b""

    def probed(self, checkpoint: Checkpoint) -> bytes:
        return b""

    def progressed(self, notice: ProgressNotice) -> bytes:
        return b""

    def closing(self, outcome: Outcome) -> bytes:
        finish_word(outcome)
        return event({"thought_tokens": outcome.thought.tokens})

    def failure(self, error: ApiError) -> bytes:
        return event(toy_error(error))


def toy_error(error: ApiError) -> dict[str, Any]:
    return {"wrong": str(error), "status": error.status}


TOY = Surface(
    path="/toy/ask",
    name="ask",
    description="Answer a question.",
    request=ToyQuestion,
    reply=ToyAnswer,
    shape=ToyShape,
    prefix="toy-",
    error_body=toy_error,
    error_model=ToyError,
)
