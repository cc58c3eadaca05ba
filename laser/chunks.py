"""What chat completions and completions share: a stream of chunks, each with one choice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from controller.serving.request import Outcome
from laser.errors import ApiError
from laser.reply_shape import DONE, Identity, details, event, finish_word, usage
from laser.schemas import FinishWord


@dataclass(frozen=True, slots=True)
class Chunks(ABC):
    """The end of a `laser.reply_shape.ReplyShape`, and how its chunks look."""

    OBJECT: ClassVar[str]  # what a chunk calls itself
    NOTHING: ClassVar[dict[str, str]]  # what the last chunk says

    identity: Identity

    @abstractmethod
    def _choice(self, said: dict[str, str]) -> dict[str, Any]:
        """Where in a choice what is said stands."""

    def closing(self, outcome: Outcome) -> bytes:
        laser = details(self.identity, outcome).model_dump()
        end = self._chunk(self.NOTHING, finish_word(outcome), laser=laser)
        if self.identity.show_usage:
            end += event({**self._head(), "choices": [], "usage": usage(outcome).model_dump()})
        return end + DONE

    def failure(self, error: ApiError) -> bytes:
        return event(error.body()) + DONE

    def _chunk(self, said: dict[str, str], finish: FinishWord | None = None, **more: Any) -> bytes:
        choice = {"index": 0, **self._choice(said), "logprobs": None, "finish_reason": finish}
        if self.identity.show_usage:
            more["usage"] = None
        return event({**self._head(), "choices": [choice], **more})

    def _head(self) -> dict[str, Any]:
        identity = self.identity
        return {"id": identity.id, "object": self.OBJECT, "created": identity.created, "model": identity.model}
