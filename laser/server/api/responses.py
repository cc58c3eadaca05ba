"""OpenAI's responses API: a request for one reply, and the reply as items, whole or as typed events.

Nothing is stored, so `previous_response_id` is not supported; tools are functions of the client's. A thought is a
`reasoning` item whose content is the thought itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator

from controller.serving.choices.scores import TokenScore
from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, Outcome
from laser.server.api import dialects
from laser.server.api.answers.said import said_in
from laser.server.api.base import Fields, encodable
from laser.server.api.chat import Message
from laser.server.api.errors import ApiError, Busy, shown
from laser.server.api.fields import GenerationFields, Limit
from laser.server.api.items.given import Input, conversation
from laser.server.api.items.made import (
    FunctionCallItem,
    FunctionToolReply,
    MessageItem,
    OutputItem,
    OutputText,
    ReasoningItem,
    ReasoningText,
    Status,
    ToolChoiceReply,
    told_offer,
)
from laser.server.api.items.table import RESPONSES_PLACES
from laser.server.api.items.tools import ItemTools
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


def _nothing(given: object) -> object:
    if given is not None:
        raise ValueError(f"is {shown(given)}, must be null: responses are not stored here, send the whole conversation")
    return None


class TextFormat(NamedSchema):
    """What the answer is held to."""

    # `text`: nothing; `json_object`: a JSON object; `json_schema`: JSON that validates `schema`
    type: AnswerFormat


class TextOptions(Fields):
    """How the answer is to look."""

    place: ClassVar[str] = "text"

    format: TextFormat | None = None  # what the answer is held to


class ResponsesRequest(ResponseChoices, ItemTools, GenerationFields):
    """What to reply to. Every field but `input` may be left out or null."""

    endpoint: ClassVar[str] = dialects.RESPONSES
    places: ClassVar[Mapping[str, Mapping[str, dialects.Treatment]]] = RESPONSES_PLACES

    input: Input  # what is said so far: a text or a list of items
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
        said = ((item.role, item.content) for item in self.input if isinstance(item, Message))
        return said_in(said, self.instructions)

    def _grammars(self) -> Iterator[Grammar]:
        form = None if self.text is None else self.text.format
        if form is not None:
            grammar = format_grammar(form.type, form.schema_, "text.format", "text.format.schema")
            if grammar is not None:
                yield grammar
        yield from super()._grammars()

    def prompt_tokens(self, chat: ChatModel) -> Prompt:
        messages = conversation(self.input)
        if self.instructions:
            messages.insert(0, {"role": "system", "content": self.instructions})
        return chat.begin(
            messages,
            thinking=self.thought_wanted(chat),
            options=self.template_variables,
            effort=self.effort_word,
            tools=() if (offer := self.offer) is None else offer.tools,
        )


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
    output_tokens: int  # tokens that the model decoded for the reply, and for thoughts that have lost a race for it
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
    output: list[OutputItem] = []  # the reply's items: the thought, the message, then calls of tools
    parallel_tool_calls: bool = False  # whether the reply may have several calls
    tool_choice: ToolChoiceReply = "none"  # whether tools are called, and which
    tools: list[FunctionToolReply] = []  # that the reply may call
    store: bool = False  # not done: nothing is stored
    usage: ResponsesUsage | None = None  # tokens that were sent and decoded; null: the reply has not ended
    laser: LaserDetails | None = None  # how the thought went; null: the reply has not ended


class ResponsesShape:
    """See `laser.server.api.shape.ReplyShape`. A stream sends created, each item with its text in pieces, completed."""

    def __init__(self, identity: ReplyHeader) -> None:
        self._identity = identity
        self._events = 0
        self._items: list[OutputItem] = []  # the complete ones
        self._open: Channel | CallDelta | None = None  # the item being streamed, a call by its first piece; None: none
        self._answered = False  # an item of the answer, or a call, has begun
        self._text = ""  # of the open item so far, or a call's arguments
        self._scores: list[ScoredToken] = []  # of its tokens so far, if they are asked for

    def whole(self, reasoning: str, content: str, outcome: Outcome, scores: Scores = NO_SCORES) -> Response:
        cut = finish_word(outcome) == "length"
        if reasoning and self._identity.show_reasoning:
            self._items.append(self._item(Channel.REASONING, reasoning))
        self._scores = self._scored(scores.get(Channel.CONTENT, ()))
        if content or not outcome.calls:
            self._items.append(self._item(Channel.CONTENT, content))
        for index, call in enumerate(outcome.calls):
            begun = CallDelta(index=index, id=call.id, name=call.name, arguments="")
            self._items.append(self._item(begun, call.arguments))
        if cut:
            self._items[-1] = self._items[-1].model_copy(update={"status": "incomplete"})
        return self._ended(outcome)

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
        change = b"" if call.name is None else self._close() + self._begin(call)
        self._text += call.arguments
        if not call.arguments:
            return change
        return change + self._event("response.function_call_arguments.delta", **self._place(), delta=call.arguments)

    def probed(self, checkpoint: Checkpoint) -> bytes:
        return self._event("laser.probe", probe=ProbeNotice.of(checkpoint).model_dump())

    def progressed(self, notice: ProgressNotice) -> bytes:
        return self._event("laser.progress", progress=notice.model_dump())

    def closing(self, outcome: Outcome) -> bytes:
        cut = finish_word(outcome) == "length"
        end = b"" if self._answered else self._close() + self._begin(Channel.CONTENT)  # an empty answer
        end += self._close("incomplete" if cut else "completed")
        response = self._ended(outcome)
        return end + self._event(f"response.{response.status}", response=response.model_dump())

    def failure(self, error: ApiError) -> bytes:
        busy = isinstance(error, Busy)
        failed = ResponseFailure(code="rate_limit_exceeded" if busy else "server_error", message=str(error))
        response = self._response().model_copy(update={"status": "failed", "error": failed, "output": self._items})
        return self._event("response.failed", response=response.model_dump())

    def _begin(self, what: Channel | CallDelta) -> bytes:
        self._open, self._text, self._scores = what, "", []
        self._answered = self._answered or what is not Channel.REASONING
        item = self._item(what, "", "in_progress").model_dump()
        empty: dict[str, Any] = {} if isinstance(what, CallDelta) else {"content": []}
        added = self._event("response.output_item.added", output_index=len(self._items), item=item | empty)
        if isinstance(what, CallDelta):
            return added
        return added + self._event("response.content_part.added", **self._place(), part=_part(what, "").model_dump())

    def _close(self, status: Status = "completed") -> bytes:
        what = self._open
        if what is None:
            return b""
        item, place = self._item(what, self._text, status), self._place()
        if isinstance(what, CallDelta):
            end = self._event("response.function_call_arguments.done", **place, name=what.name, arguments=self._text)
        else:
            part = _part(what, self._text, self._scores).model_dump()
            end = self._event(f"{_kind(what)}.done", **place, text=self._text, **_more(what, self._scores))
            end += self._event("response.content_part.done", **place, part=part)
        end += self._event("response.output_item.done", output_index=len(self._items), item=item.model_dump())
        self._items.append(item)
        self._open = None
        return end

    def _place(self) -> dict[str, Any]:
        assert self._open is not None
        place = {"item_id": self._item_id(self._open), "output_index": len(self._items)}
        return place if isinstance(self._open, CallDelta) else place | {"content_index": 0}

    def _item_id(self, what: Channel | CallDelta) -> str:
        """Returns the next item's name, the reply's with the kind before it and, of a further item, a number behind."""
        kind = "fc_" if isinstance(what, CallDelta) else "rs_" if what is Channel.REASONING else "msg_"
        before = sum(item.id.startswith(kind) for item in self._items)
        return self._identity.id.replace("resp_", kind) + (f"_{before}" if before else "")

    def _item(self, what: Channel | CallDelta, text: str, status: Status = "completed") -> OutputItem:
        name = self._item_id(what)
        if isinstance(what, CallDelta):
            return FunctionCallItem(id=name, status=status, call_id=what.id, name=what.name or "", arguments=text)
        if what is Channel.REASONING:
            return ReasoningItem(id=name, status=status, content=[ReasoningText(text=text)])
        return MessageItem(id=name, status=status, content=[OutputText(text=text, logprobs=self._scores)])

    def _response(self) -> Response:
        identity, offer = self._identity, self._identity.offer
        begun = Response(id=identity.id, created_at=identity.created, model=identity.model)
        return begun if offer is None else begun.model_copy(update=told_offer(offer))

    def _ended(self, outcome: Outcome) -> Response:
        cut = finish_word(outcome) == "length"
        return self._response().model_copy(
            update={
                "status": "incomplete" if cut else "completed",
                "incomplete_details": Incomplete(reason="max_output_tokens") if cut else None,
                "output": self._items,
                "usage": ResponsesUsage(
                    input_tokens=outcome.sent_tokens,
                    input_tokens_details=InputDetails(),
                    output_tokens=outcome.generated_tokens,
                    output_tokens_details=OutputDetails(reasoning_tokens=outcome.thought.tokens),
                    total_tokens=outcome.sent_tokens + outcome.generated_tokens,
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
