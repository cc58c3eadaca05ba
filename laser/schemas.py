"""The shapes of the HTTP API: OpenAI's chat completions, and what all endpoints share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from laser.reasoning_fields import Fields, integer
from laser.request_fields import Count, GenerationFields, StreamOptions
from models.chat_model import ChatModel
from models.text import encodable

# --- requests ---------------------------------------------------------------------------------------------------------

TEXT_PARTS = ("text", "input_text", "output_text")


def _text(content: object) -> object:
    """A message's content as one text; parts that are not text cannot be served."""
    if content is None:
        return None
    if isinstance(content, str):
        return encodable(content)
    if not isinstance(content, list):
        raise ValueError(f"is {type(content).__name__}, must be a text or a list of text parts")
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind not in TEXT_PARTS or not isinstance(part.get("text"), str):
            raise ValueError(f"part {number} is of type {kind!r}, must be 'text': this model reads text only")
        texts.append(str(encodable(part["text"])))
    return "\n".join(texts)


class TextPart(Fields):
    """A part of a message."""

    type: Literal["text", "input_text", "output_text"]
    text: str


Content = Annotated[str | None, BeforeValidator(_text, json_schema_input_type=str | list[TextPart] | None)]
SAYS_SOMETHING: JsonDict = {"properties": {"content": {"not": {"type": "null"}}}, "required": ["content"]}
ASSISTANT: JsonDict = {"properties": {"role": {"const": "assistant"}}}


class Message(Fields):
    """One message of a chat; an assistant's earlier thoughts are left out, as models are trained to expect."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [ASSISTANT, SAYS_SOMETHING]})

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = Field(default=None, validate_default=True)

    @field_validator("content")
    @classmethod
    def _there_is_some(cls, content: str | None, info: ValidationInfo) -> str | None:
        if content is None and info.data.get("role") != "assistant":  # an assistant may have called a tool instead
            raise ValueError("is null, must be a text")
        return content

    @property
    def for_template(self) -> dict[str, str]:
        """The message as chat templates know it."""
        return {"role": "system" if self.role == "developer" else self.role, "content": self.content or ""}


def certain_bytes(messages: Sequence[Message]) -> int:
    """Bytes of text that are in the prompt for certain; templates trim messages and leave out earlier thoughts."""
    return sum(len((each.content or "").strip().encode()) for each in messages if each.role != "assistant")


class ChatRequest(GenerationFields):
    """A chat to answer. Every field but `messages` may be left out or null; unknown fields are ignored."""

    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def limit_name(self) -> str:
        return "max_completion_tokens" if self.max_completion_tokens is not None else "max_tokens"

    @property
    def prompt_name(self) -> str:
        return "messages"

    @property
    def wants_probes(self) -> bool:
        """Whether a stream is to tell of the probes of its thought."""
        return bool(self.stream and self.laser is not None and self.laser.probes)

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def certain_bytes(self) -> int:
        return certain_bytes(self.messages)

    def prompt_tokens(self, chat: ChatModel) -> tuple[tuple[int, ...], bool]:
        thinking = self.policy.enabled
        return chat.prompt([message.for_template for message in self.messages], thinking=thinking), thinking


class ControlRequest(Fields):
    """What is to be done with a running reply."""

    id: str
    action: Literal["reasoning_end"]


class TokenizeRequest(Fields):
    """A text, or a chat as it would be rendered, to be turned into tokens."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
                for name in ("prompt", "content", "messages")
            ]
        }
    )

    prompt: Annotated[str, BeforeValidator(encodable)] | None = None
    content: Annotated[str, BeforeValidator(encodable)] | None = None  # llama.cpp's name for it
    messages: Annotated[tuple[Message, ...], Field(min_length=1)] | None = None


def _integers(tokens: object) -> object:
    """Tokens, of which 7.0 is one, too; they may be so many that each is looked at only where that has to be."""
    if isinstance(tokens, list) and float in set(map(type, tokens)):
        return [integer(token) for token in tokens]
    return tokens


class DetokenizeRequest(Fields):
    """Tokens to be turned into text."""

    tokens: Annotated[
        tuple[Annotated[int, Field(ge=0, strict=True)], ...], Field(max_length=1_000_000), BeforeValidator(_integers)
    ]


# --- responses --------------------------------------------------------------------------------------------------------


class TokenDetails(BaseModel):
    """Tokens of the thought, and token rows that probing it has cost (these are no part of completion_tokens)."""

    reasoning_tokens: int
    probe_tokens: int


class Usage(BaseModel):
    """What a reply has cost, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: TokenDetails


class LaserDetails(BaseModel):
    """How the thought went and why it ended; `exit_reason` is null where there was none."""

    exit_reason: str | None
    threshold: float | None
    confidence: float | None
    difficulty: str | None
    budget: int | None
    reasoning_tokens: int
    probes: int
    probe_tokens: int
    withdrawn_tokens: int
    queue_ms: float
    ttft_ms: float | None
    total_ms: float


FinishWord = Literal["stop", "length"]


class ReplyMessage(BaseModel):
    """The assistant's message; the thought comes under both names that clients know."""

    role: Literal["assistant"] = "assistant"
    content: str
    reasoning: str | None
    reasoning_content: str | None


class Choice(BaseModel):
    """The one reply."""

    index: int = 0
    message: ReplyMessage
    finish_reason: FinishWord
    logprobs: None = None


class ChatCompletion(BaseModel):
    """A whole reply."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    laser: LaserDetails


class ModelCard(BaseModel):
    """A model that is served here."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "laser"
    max_model_len: int


class ModelList(BaseModel):
    """All models that are served here."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """Whether the server can answer."""

    status: Literal["ok", "failed"]
    model: str


class Ready(BaseModel):
    """Whether the server takes requests."""

    status: Literal["ready", "draining", "failed"]


class Version(BaseModel):
    """Which LASER this is."""

    version: str


class Controlled(BaseModel):
    """What has come of a control call; `ended` is false where no thought goes on."""

    id: str
    action: Literal["reasoning_end"]
    ended: bool


class Tokens(BaseModel):
    """Tokens of a text."""

    count: int
    max_model_len: int
    tokens: list[int]


class Text(BaseModel):
    """Text of tokens, under both names that clients know."""

    prompt: str
    content: str


class TurnReport(BaseModel):
    """A request that waits."""

    id: str
    position: int  # 1: the next
    eta_s: float


class QueueReport(BaseModel):
    """Who waits for how long."""

    running: int
    waiting: int
    max_waiting: int
    drain_s: float  # until all that wait have begun
    turned_away: int  # since the start
    requests: list[TurnReport]


class ErrorDetails(BaseModel):
    """What was wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    """An error, as OpenAI's clients read it."""

    error: ErrorDetails
