"""One chat completion as the client gets it: whole, or as the events of a stream."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from controller.reply import Channel, Delta
from controller.request import Checkpoint, Outcome, Thought
from engine.base import FinishReason
from laser.errors import ServerFailure
from laser.schemas import (
    ChatCompletion,
    Choice,
    FinishWord,
    LaserDetails,
    ReplyMessage,
    TokenDetails,
    Usage,
)

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The identity of one completion, and its parts in OpenAI's shapes."""

    id: str
    created: int  # s since 1970
    model: str
    difficulty: str | None = None
    show_reasoning: bool = True
    show_usage: bool = False  # in a stream

    def whole(self, reasoning: str, content: str, outcome: Outcome) -> ChatCompletion:
        """The reply in one piece. Raises ServerFailure where the engine failed."""
        thought = reasoning if self.show_reasoning and outcome.thought is not None else None
        message = ReplyMessage(content=content, reasoning=thought, reasoning_content=thought)
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[Choice(message=message, finish_reason=finish_word(outcome))],
            usage=usage(outcome),
            laser=self._details(outcome),
        )

    def opening(self) -> bytes:
        """The stream's first event: whose message it is."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, delta: Delta) -> bytes:
        """A piece of thought or answer; nothing where the client does not want thoughts."""
        if delta.channel is Channel.CONTENT:
            return self._chunk({"content": delta.text})
        if not self.show_reasoning:
            return b""
        return self._chunk({"reasoning": delta.text, "reasoning_content": delta.text})

    def probed(self, checkpoint: Checkpoint) -> bytes:
        """What a probe of the running thought has said, for clients that asked to be told."""
        probe = {
            "thought_tokens": checkpoint.thought_tokens,
            "answer": checkpoint.answer,
            "confidence": round(checkpoint.confidence, 6),
            "gave_up": checkpoint.gave_up,
        }
        return event({**self._head(), "choices": [], "laser": {"probe": probe}})

    def closing(self, outcome: Outcome) -> bytes:
        """The stream's last events: why it finished, and the usage where it was asked for.

        Raises ServerFailure where the engine failed.
        """
        end = self._chunk({}, finish_word(outcome), laser=self._details(outcome).model_dump())
        if self.show_usage:
            end += event({**self._head(), "choices": [], "usage": usage(outcome).model_dump()})
        return end

    def _chunk(self, delta: dict[str, str], finish: FinishWord | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        if self.show_usage:
            more["usage"] = None
        return event({**self._head(), "choices": [choice], **more})

    def _head(self) -> dict[str, Any]:
        return {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model}

    def _details(self, outcome: Outcome) -> LaserDetails:
        thought = outcome.thought
        return LaserDetails(
            exit_reason=thought.exit_reason.value if thought else None,
            threshold=thought.threshold if thought else None,
            confidence=_rounded(thought),
            difficulty=self.difficulty,
            budget=thought.budget if thought else None,
            reasoning_tokens=thought.tokens if thought else 0,
            probes=thought.probes if thought else 0,
            probe_tokens=thought.probe_rows if thought else 0,
            withdrawn_tokens=thought.withdrawn_tokens if thought else 0,
            queue_ms=round(outcome.queue_s * 1e3, 3),
            total_ms=round(outcome.total_s * 1e3, 3),
        )


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def usage(outcome: Outcome) -> Usage:
    """What a reply has cost."""
    thought = outcome.thought
    return Usage(
        prompt_tokens=outcome.prompt_tokens,
        completion_tokens=outcome.completion_tokens,
        total_tokens=outcome.prompt_tokens + outcome.completion_tokens,
        completion_tokens_details=TokenDetails(
            reasoning_tokens=thought.tokens if thought else 0, probe_tokens=thought.probe_rows if thought else 0
        ),
    )


def finish_word(outcome: Outcome) -> FinishWord:
    """OpenAI's word for why the reply ended. Raises ServerFailure where the engine failed."""
    match outcome.finish_reason:
        case FinishReason.STOP:
            return "stop"
        case FinishReason.LENGTH:
            return "length"
        case FinishReason.ERROR:
            raise ServerFailure(outcome.error or "the engine failed on this request; it may be sent again")


def _rounded(thought: Thought | None) -> float | None:
    return None if thought is None or thought.confidence is None else round(thought.confidence, 6)
