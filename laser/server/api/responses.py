"""OpenAI's responses API: a request for one reply, and the reply as items, whole or as typed events.

Nothing is stored, so `previous_response_id` is not supported; there are no tools. A thought is a `reasoning` item
whose content is the thought itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field

from controller.serving.choices.scores import TokenScore
from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, Outcome
from laser.server.api import dialects
from laser.server.api.answers.said import said_in
from laser.server.api.base import Fields, encodable
from laser.server.api.chat import Message
from laser.server.api.errors import ApiError, Busy, shown
from laser.server.api.fields import GenerationFields, Limit
from laser.server.api.sampling.choices import ResponseChoices
from laser.server.api.sampling.log_probs import ScoredToken
from laser.server.api.shape import (
    NO_SCORES,
    LaserDetails,
    ReplyHeader,
    Scores,
    Surface,
    details,
    event,
    finish_word,
)
from laser.server.api.streams.notices import ProbeNotice, ProgressNotice
from laser.server.api.structured.fields import AnswerFormat, NamedSchema, format_grammar
from laser.server.api.tools.reply import CallDelta
from models.chat_model import ChatModel, Prompt
from models.grammar.grammar import Grammar
from models.kinds.said import Words

A_MESSAGE: dict[str, Any] = {"contains": {"required": ["role"], "properties": {"type": {"const": "message"}}}}
SKIPPED = ("reasoning",)  # types of input items that do not go into the prompt


def _messages(given: object) -> object:
    """Returns the input as a list of messages; a text becomes one user message. Raises ValueError for other items."""
    if isinstance(given, str):
        return [{"role": "user", "content": encodable(given)}]
    if not isinstance(given, list):
        raise ValueError(f"is {type(given).__name__}, must be a text or a list of messages")
    messages = []
    for number, item in enumerate(given):
        kind = item.get("type", "message") if isinstance(item, dict) else type(item).__name__
        if kind in SKIPPED:
            continue
        if kind == "item_reference":
            raise ValueError(f"item {number} is an item_reference: nothing is stored here, send the whole conversation")
        if kind != "message":
            raise ValueError(f"item {number} is of type {shown(kind)}, must be 'message': there are no tools here")
        messages.append(item)
    if not messages:
        raise ValueError("has 0 messages, needs 1 or more")
    return messages


def _nothing(given: object) -> object:
    if given is not None:
        raise ValueError(f"is {shown(given)}, must be null: responses are not stored here, send the whole conversation")
    return None


class MessageItemParam(Message):
    """A message among the items of an input."""

    place: ClassVar[str] = "input"

    type: Literal["message"] = "message"  # kind of the item: a message


class ReasoningItemParam(Fields):
    """An earlier thought, which is not read again."""

    type: Literal["reasoning"]  # kind of the item: a thought


Items = Annotated[list[MessageItemParam | ReasoningItemParam], Field(min_length=1, json_schema_extra=A_MESSAGE)]
Input = str | Items


class TextFormat(NamedSchema):
    """What the answer is held to."""

    # `text`: nothing; `json_object`: a JSON object; `json_schema`: JSON that validates `schema`
    type: AnswerFormat


class TextOptions(Fields):
    """How the answer is to look."""

    place: ClassVar[str] = "text"

    format: TextFormat | None = None  # what the answer is held to


class ResponsesRequest(ResponseChoices, GenerationFields):
    """What to reply to. Every field but `input` may be left out or null."""

    endpoint: ClassVar[str] = dialects.RESPONSES

    # what is said so far: a text or a list of items
    input: Annotated[
        tuple[Message, ...], Field(fail_fast=True), BeforeValidator(_messages, json_schema_input_type=Input)
    ]
    instructions: Annotated[str, BeforeValidator(encodable)] | None = None  # a system message before the input
    max_output_tokens: Limit = None  # longest reply, thought and answer together, tokens; null: the server's default
    text: TextOptions | None = None  # how the answer is to look
    previous_response_id: Annotated[None, BeforeValidator(_nothing)] = None  # not read, because nothing is stored: null

    @property
    def limit(self) -> int | None:
        return self.max_output_tokens

    @property
    def limit_name(self) -> str:
        return "max_output_tokens"

    @property
    def prompt_name(self) -> str:
        return "input"

    @property
    def said(self) -> Words:
        return said_in(((message.role, message.content) for message in self.input), self.instructions)

    def _grammars(self) -> Iterator[Grammar]:
        form = None if self.text is None else self.text.format
        if form is not None:
            grammar = format_grammar(form.type, form.schema_, "text.format", "text.format.schema")
            if grammar is not None:
                yield grammar
        yield from super()._grammars()

    def prompt_tokens(self, chat: ChatModel) -> Prompt:
        messages = [message.for_template for message in self.input]
        if self.instructions:
            messages.insert(0, {"role": "system", "content": self.instructions})
        return chat.begin(
            messages,
            thinking=self.thought_wanted(chat),
            options=self.template_variables,
            effort=self.effort_word,
        )


class ReasoningText(BaseModel):
    """The thought."""

    type: Literal["reasoning_text"] = "reasoning_text"  # kind of the part: a thought's text
    text: str  # the text of the thought


class OutputText(BaseModel):
    """The answer."""

    type: Literal["output_text"] = "output_text"  # kind of the part: the answer's text
    text: str  # the text of the answer
    annotations: list[str] = []  # none
    logprobs: list[ScoredToken] = []  # of the text's tokens, where `include` asks for them


Status = Literal["in_progress", "completed", "incomplete"]


class ReasoningItem(BaseModel):
    """The thought as an item."""

    type: Literal["reasoning"] = "reasoning"  # kind of the item: a thought
    id: str  # of the item
    status: Status  # how far the item is
    summary: list[str] = []  # none
    content: list[ReasoningText]  # the thought's text


class MessageItem(BaseModel):
    """The answer as an item."""

    type: Literal["message"] = "message"  # kind of the item: a message
    id: str  # of the item
    status: Status  # how far the item is
    role: Literal["assistant"] = "assistant"  # who says it: the assistant
    content: list[OutputText]  # the answer's text


class InputDetails(BaseModel):
    """Nothing is cached here."""

    cached_tokens: int = 0  # tokens read from a cache between requests: none
    cache_write_tokens: int = 0  # tokens written to a cache between requests: none


class OutputDetails(BaseModel):
    """Tokens of the thought."""

    reasoning_tokens: int  # length of the thought


class ResponsesUsage(BaseModel):
    """What a reply has cost, in tokens."""

    input_tokens: int  # tokens that the client sent, in the chat template
    input_tokens_details: InputDetails  # of the input's tokens
    output_tokens: int  # tokens that the model decoded for the reply
    output_tokens_details: OutputDetails  # of the output's tokens
    total_tokens: int  # the sum of both


class Incomplete(BaseModel):
    """Why a reply is not complete."""

    reason: Literal["max_output_tokens"]  # why the reply is incomplete: it reached the token limit


class ResponseFailure(BaseModel):
    """Why there is no reply."""

    # whether the server failed, or too many waited
    code: Literal["server_error", "rate_limit_exceeded"] = "server_error"
    message: str  # what went wrong, in words


class Response(BaseModel):
    """A reply, so far or whole."""

    id: str  # of the reply
    object: Literal["response"] = "response"  # kind of the object
    created_at: int  # time of the request, s since 1970
    model: str  # name of the served model
    status: Literal["in_progress", "completed", "incomplete", "failed"] = "in_progress"  # how far the reply is
    error: ResponseFailure | None = None  # why the reply failed; null: it did not
    incomplete_details: Incomplete | None = None  # why the reply is incomplete; null: it is not
    output: list[ReasoningItem | MessageItem] = []  # the reply's items: the thought, then the message
    parallel_tool_calls: bool = False  # not done: false
    tool_choice: Literal["none"] = "none"  # not done: there are no tools
    tools: list[str] = []  # none
    store: bool = False  # not done: nothing is stored
    usage: ResponsesUsage | None = None  # tokens that were sent and decoded; null: the reply has not ended
    laser: LaserDetails | None = None  # how the thought went; null: the reply has not ended


class ResponsesShape:
    """See `laser.server.api.shape.ReplyShape`. A stream sends created, each item with its text in pieces, completed."""

    def __init__(self, identity: ReplyHeader) -> None:
        self._identity = identity
        self._events = 0
        self._items: list[ReasoningItem | MessageItem] = []  # the complete ones
        self._open: Channel | None = None  # of the item being streamed; None: no item is open
        self._text = ""  # of the open item so far
        self._scores: list[ScoredToken] = []  # of its tokens so far, if they are asked for

    def whole(self, reasoning: str, content: str, outcome: Outcome, scores: Scores = NO_SCORES) -> Response:
        word = finish_word(outcome)
        output: list[ReasoningItem | MessageItem] = []
        if reasoning and self._identity.show_reasoning:
            output.append(self._item(Channel.REASONING, reasoning))
        self._scores = self._scored(scores.get(Channel.CONTENT, ()))
        output.append(self._item(Channel.CONTENT, content, "completed" if word == "stop" else "incomplete"))
        return self._ended(output, outcome)

    def opening(self) -> bytes:
        return b"".join(
            self._event(kind, response=self._response().model_dump())
            for kind in ("response.created", "response.in_progress")
        )

    def piece(self, delta: Delta) -> bytes:
        if delta.channel is Channel.REASONING and not self._identity.show_reasoning:
            return b""
        change = b"" if delta.channel is self._open else self._close() + self._begin(delta.channel)
        self._text += delta.text
        new = self._scored(delta.scores) if delta.channel is Channel.CONTENT else []
        self._scores += new
        return change + self._event(
            f"{_kind(delta.channel)}.delta", **self._place(), delta=delta.text, **_more(delta.channel, new)
        )

    def _scored(self, scores: Sequence[TokenScore]) -> list[ScoredToken]:
        return [] if self._identity.scoring is None else self._identity.scoring.tokens(scores)

    def called(self, call: CallDelta) -> bytes:
        return b""  # this endpoint has no tools yet

    def probed(self, checkpoint: Checkpoint) -> bytes:
        return self._event("laser.probe", probe=ProbeNotice.of(checkpoint).model_dump())

    def progressed(self, notice: ProgressNotice) -> bytes:
        return self._event("laser.progress", progress=notice.model_dump())

    def closing(self, outcome: Outcome) -> bytes:
        word = finish_word(outcome)
        end = b"" if self._open is Channel.CONTENT else self._close() + self._begin(Channel.CONTENT)  # an empty answer
        end += self._close("completed" if word == "stop" else "incomplete")
        response = self._ended(self._items, outcome)
        return end + self._event(f"response.{response.status}", response=response.model_dump())

    def failure(self, error: ApiError) -> bytes:
        busy = isinstance(error, Busy)
        failed = ResponseFailure(code="rate_limit_exceeded" if busy else "server_error", message=str(error))
        response = self._response().model_copy(update={"status": "failed", "error": failed, "output": self._items})
        return self._event("response.failed", response=response.model_dump())

    def _begin(self, channel: Channel) -> bytes:
        self._open, self._text, self._scores = channel, "", []
        item = self._item(channel, "", "in_progress").model_dump() | {"content": []}
        return self._event("response.output_item.added", output_index=len(self._items), item=item) + self._event(
            "response.content_part.added", **self._place(), part=_part(channel, "").model_dump()
        )

    def _close(self, status: Status = "completed") -> bytes:
        channel = self._open
        if channel is None:
            return b""
        item, place = self._item(channel, self._text, status), self._place()
        end = (
            self._event(f"{_kind(channel)}.done", **place, text=self._text, **_more(channel, self._scores))
            + self._event(
                "response.content_part.done", **place, part=_part(channel, self._text, self._scores).model_dump()
            )
            + self._event("response.output_item.done", output_index=len(self._items), item=item.model_dump())
        )
        self._items.append(item)
        self._open = None
        return end

    def _place(self) -> dict[str, Any]:
        assert self._open is not None
        return {"item_id": self._item_id(self._open), "output_index": len(self._items), "content_index": 0}

    def _item_id(self, channel: Channel) -> str:
        return self._identity.id.replace("resp_", "rs_" if channel is Channel.REASONING else "msg_")

    def _item(self, channel: Channel, text: str, status: Status = "completed") -> ReasoningItem | MessageItem:
        if channel is Channel.REASONING:
            return ReasoningItem(id=self._item_id(channel), status=status, content=[ReasoningText(text=text)])
        said = OutputText(text=text, logprobs=self._scores)
        return MessageItem(id=self._item_id(channel), status=status, content=[said])

    def _response(self) -> Response:
        return Response(id=self._identity.id, created_at=self._identity.created, model=self._identity.model)

    def _ended(self, output: list[ReasoningItem | MessageItem], outcome: Outcome) -> Response:
        cut = finish_word(outcome) == "length"
        return self._response().model_copy(
            update={
                "status": "incomplete" if cut else "completed",
                "incomplete_details": Incomplete(reason="max_output_tokens") if cut else None,
                "output": output,
                "usage": ResponsesUsage(
                    input_tokens=outcome.sent_tokens,
                    input_tokens_details=InputDetails(),
                    output_tokens=outcome.decoded_tokens,
                    output_tokens_details=OutputDetails(reasoning_tokens=outcome.thought.tokens),
                    total_tokens=outcome.sent_tokens + outcome.decoded_tokens,
                ),
                "laser": details(self._identity, outcome),
            }
        )

    def _event(self, kind: str, **data: Any) -> bytes:
        self._events += 1
        return event({"type": kind, "sequence_number": self._events - 1, **data}, name=kind)


RESPONSES = Surface(
    path="/v1/responses",
    name="responses",
    description="Reply in items, whole or as a stream of typed events.",
    request=ResponsesRequest,
    reply=Response,
    shape=ResponsesShape,
    prefix="resp_",
)


def _kind(channel: Channel) -> str:
    return "response.reasoning_text" if channel is Channel.REASONING else "response.output_text"


def _part(channel: Channel, text: str, scores: Sequence[ScoredToken] = ()) -> ReasoningText | OutputText:
    if channel is Channel.REASONING:
        return ReasoningText(text=text)
    return OutputText(text=text, logprobs=list(scores))


def _more(channel: Channel, scores: Sequence[ScoredToken]) -> dict[str, Any]:
    return {"logprobs": [each.model_dump() for each in scores]} if channel is Channel.CONTENT else {}
