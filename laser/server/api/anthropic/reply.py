"""What Anthropic's clients get: a message of content blocks, whole or as typed events."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from pydantic import BaseModel

from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, Outcome
from laser.server.api.anthropic.errors import anthropic_body
from laser.server.api.errors import ApiError
from laser.server.api.shape import NO_SCORES, FinishWord, LaserDetails, ReplyHeader, Scores, details, event, finish_word
from laser.server.api.streams.notices import ProbeNotice, ProgressNotice
from laser.server.api.tools.reply import CallDelta
from models.tools.offer import as_object

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]

REASONS: dict[FinishWord, StopReason] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class ThinkingBlock(BaseModel):
    """The thought."""

    type: Literal["thinking"] = "thinking"  # kind of the block: a thought
    thinking: str  # the thought itself
    signature: str  # SHA-256 of the thought, which clients send back with it; it is not looked at


class TextBlock(BaseModel):
    """The answer."""

    type: Literal["text"] = "text"  # kind of the block: a text
    text: str  # the text itself


class ToolUseBlock(BaseModel):
    """A call of a tool."""

    type: Literal["tool_use"] = "tool_use"  # kind of the block: a call
    id: str  # of the call, for its result to repeat
    name: str  # of the tool
    input: dict[str, Any]  # its arguments; those that are no object stand in it as `invalid`, a text


class ThinkingDetails(BaseModel):
    """Tokens of the thought."""

    thinking_tokens: int  # length of the thought


class MessagesUsage(BaseModel):
    """What the client has sent and the model has decoded for it, in tokens."""

    input_tokens: int  # what the client sent, in the chat template
    # what the model decoded for the reply: thought, markers and answer, and the thoughts that have lost a race for it
    output_tokens: int
    output_tokens_details: ThinkingDetails  # of the output's tokens
    cache_creation_input_tokens: int = 0  # tokens kept for other requests: none
    cache_read_input_tokens: int = 0  # tokens read from a cache between requests: none


class MessagesReply(BaseModel):
    """The assistant's message."""

    id: str  # of the reply
    type: Literal["message"] = "message"  # kind of the object
    role: Literal["assistant"] = "assistant"  # who says it: the assistant
    model: str  # name of the served model
    # the thought, if the client asks for one, the answer, and calls of tools
    content: list[ThinkingBlock | TextBlock | ToolUseBlock] = []
    stop_reason: StopReason | None = None  # why the reply ended; null: it has not ended
    stop_sequence: str | None = None  # which of the request's texts ended it; null: none
    usage: MessagesUsage  # tokens that were sent and decoded
    laser: LaserDetails | None = None  # how the thought went; null: the reply has not ended


class MessagesShape:
    """See `laser.server.api.shape.ReplyShape`. A stream sends the message's start, each block in pieces, its end."""

    def __init__(self, identity: ReplyHeader) -> None:
        self._identity = identity
        self._blocks = 0  # that are complete
        self._open: Channel | int | None = None  # the block being streamed, an int: of a call; None: no block is open
        self._answered = False  # a block of the answer, or of a call, has begun
        self._thought = hashlib.sha256()

    def whole(self, reasoning: str, content: str, outcome: Outcome, scores: Scores = NO_SCORES) -> MessagesReply:
        finish_word(outcome)  # raises ApiError if the request failed
        blocks: list[ThinkingBlock | TextBlock | ToolUseBlock] = []
        if reasoning and self._identity.show_reasoning:
            blocks.append(ThinkingBlock(thinking=reasoning, signature=hashlib.sha256(reasoning.encode()).hexdigest()))
        if content or not outcome.calls:
            blocks.append(TextBlock(text=content))
        blocks += (ToolUseBlock(id=call.id, name=call.name, input=as_object(call.arguments)) for call in outcome.calls)
        return MessagesReply(
            id=self._identity.id,
            model=self._identity.model,
            content=blocks,
            stop_reason=self._stop_reason(outcome),
            stop_sequence=outcome.stopped_by,
            usage=_usage(outcome),
            laser=details(self._identity, outcome),
        )

    def opening(self) -> bytes:
        sent = MessagesUsage(
            input_tokens=self._identity.prompt_tokens,
            output_tokens=0,
            output_tokens_details=ThinkingDetails(thinking_tokens=0),
        )
        begun = MessagesReply(id=self._identity.id, model=self._identity.model, usage=sent)
        return _event("message_start", message=begun.model_dump(exclude={"laser"}))

    def piece(self, delta: Delta) -> bytes:
        thinks = delta.channel is Channel.REASONING
        if thinks and not self._identity.show_reasoning:
            return b""
        change = b""
        if delta.channel is not self._open:
            block = ThinkingBlock(thinking="", signature="") if thinks else TextBlock(text="")
            change = self._close() + self._begin(delta.channel, block)
        if thinks:
            self._thought.update(delta.text.encode())
            return change + self._delta({"type": "thinking_delta", "thinking": delta.text})
        return change + self._delta({"type": "text_delta", "text": delta.text})

    def called(self, call: CallDelta) -> bytes:
        change = b""
        if call.name is not None:
            block = ToolUseBlock(id=call.id, name=call.name, input={})
            change = self._close() + self._begin(call.index, block)
        return change + self._delta({"type": "input_json_delta", "partial_json": call.arguments})

    def probed(self, checkpoint: Checkpoint) -> bytes:
        return _notice("probe", ProbeNotice.of(checkpoint))

    def progressed(self, notice: ProgressNotice) -> bytes:
        return _notice("progress", notice)

    def closing(self, outcome: Outcome) -> bytes:
        finish_word(outcome)
        end = b"" if self._answered else self._close() + self._begin(Channel.CONTENT, TextBlock(text=""))
        usage, laser = _usage(outcome).model_dump(), details(self._identity, outcome).model_dump()
        why = {"stop_reason": self._stop_reason(outcome), "stop_sequence": outcome.stopped_by}
        return (
            end + self._close() + _event("message_delta", delta=why, usage=usage, laser=laser) + _event("message_stop")
        )

    def failure(self, error: ApiError) -> bytes:
        return event(anthropic_body(error), name="error")

    def _stop_reason(self, outcome: Outcome) -> StopReason:
        if outcome.stopped_by is not None:
            return "stop_sequence"
        word = finish_word(outcome)
        return "model_context_window_exceeded" if word == "length" and self._identity.shortened else REASONS[word]

    def _begin(self, what: Channel | int, block: BaseModel) -> bytes:
        self._open, self._thought = what, hashlib.sha256()
        self._answered = self._answered or what is not Channel.REASONING
        return _event("content_block_start", index=self._blocks, content_block=block.model_dump())

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        signed = b""
        if self._open is Channel.REASONING:
            signed = self._delta({"type": "signature_delta", "signature": self._thought.hexdigest()})
        end = signed + _event("content_block_stop", index=self._blocks)
        self._open = None
        self._blocks += 1
        return end

    def _delta(self, delta: dict[str, str]) -> bytes:
        return _event("content_block_delta", index=self._blocks, delta=delta)


def _event(kind: str, **data: Any) -> bytes:
    return event({"type": kind, **data}, name=kind)


def _notice(kind: str, notice: BaseModel) -> bytes:
    """Returns a ping, which Anthropic's clients skip, with a notice in its `laser`."""
    return _event("ping", laser={kind: notice.model_dump()})


def _usage(outcome: Outcome) -> MessagesUsage:
    return MessagesUsage(
        input_tokens=outcome.sent_tokens,
        output_tokens=outcome.generated_tokens,
        output_tokens_details=ThinkingDetails(thinking_tokens=outcome.thought.tokens),
    )
