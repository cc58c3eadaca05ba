"""A chat completion as the client gets it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, Outcome
from laser.chunks import Chunks
from laser.reply_shape import details, event, finish_word, usage
from laser.schemas import ChatCompletion, Choice, ReplyMessage


@dataclass(frozen=True, slots=True)
class Completion(Chunks):
    """See `laser.reply_shape.ReplyShape`. A stream: role, thought, answer, why it finished, usage, [DONE]."""

    OBJECT = "chat.completion.chunk"
    NOTHING: ClassVar[dict[str, str]] = {}

    def whole(self, reasoning: str, content: str, outcome: Outcome) -> ChatCompletion:
        thought = reasoning if self.identity.show_reasoning and outcome.thought is not None else None
        message = ReplyMessage(content=content, reasoning=thought, reasoning_content=thought)
        return ChatCompletion(
            id=self.identity.id,
            created=self.identity.created,
            model=self.identity.model,
            choices=[Choice(message=message, finish_reason=finish_word(outcome))],
            usage=usage(outcome),
            laser=details(self.identity, outcome),
        )

    def opening(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, delta: Delta) -> bytes:
        if delta.channel is Channel.CONTENT:
            return self._chunk({"content": delta.text})
        if not self.identity.show_reasoning:
            return b""
        return self._chunk({"reasoning": delta.text, "reasoning_content": delta.text})

    def probed(self, checkpoint: Checkpoint) -> bytes:
        probe = {
            "thought_tokens": checkpoint.thought_tokens,
            "answer": checkpoint.answer,
            "confidence": round(checkpoint.confidence, 6),
            "gave_up": checkpoint.gave_up,
        }
        return event({**self._head(), "choices": [], "laser": {"probe": probe}})

    def _choice(self, said: dict[str, str]) -> dict[str, Any]:
        return {"delta": said}
