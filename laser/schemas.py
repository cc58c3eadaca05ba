"""The shapes of the HTTP API: OpenAI's chat completions, with the fields that reasoning models have added to them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from models.difficulty import CLASSES

MAX_STOPS = 4

# --- requests ---------------------------------------------------------------------------------------------------------


def _encodable(text: str) -> str:
    """The text itself. JSON can smuggle in halves of a character, which no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"has half a character at position {error.start}, must be valid Unicode") from error
    return text


def _text(content: object) -> object:
    """A message's content as one text; parts that are not text cannot be served."""
    if content is None:
        return None
    if isinstance(content, str):
        return _encodable(content)
    if not isinstance(content, list):
        raise ValueError(f"is {type(content).__name__}, must be a text or a list of text parts")
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"part {number} is of type {kind!r}, must be 'text': this model reads text only")
        texts.append(_encodable(part["text"]))
    return "\n".join(texts)


def _stops(stop: object) -> object:
    """The stop strings as a tuple."""
    if stop is None:
        return ()
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        raise ValueError(f"must be a text or a list of at most {MAX_STOPS} texts")
    if len(stops) > MAX_STOPS:
        raise ValueError(f"has {len(stops)} texts, must be at most {MAX_STOPS}")
    if "" in stops:
        raise ValueError("has an empty text, each must have at least 1 character")
    return tuple(_encodable(each) for each in stops)


def _one(n: object) -> object:
    if n not in (None, 1) or isinstance(n, bool):
        raise ValueError(f"is {n!r}, must be 1: one answer is made per request")
    return n


def _class(difficulty: object) -> object:
    """A difficulty class by its name."""
    if difficulty is not None and difficulty not in CLASSES:
        raise ValueError(f"is {difficulty!r}, must be one of {', '.join(map(repr, CLASSES))}")
    return difficulty


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Message(_Request):
    """One message of a chat; an assistant's earlier thoughts are left out, as models are trained to expect."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str | None, BeforeValidator(_text)] = Field(default=None, validate_default=True)

    @field_validator("content")
    @classmethod
    def _there_is_some(cls, content: str | None, info: ValidationInfo) -> str | None:
        if content is None and info.data.get("role") != "assistant":  # an assistant may have called a tool instead
            raise ValueError("is null, must be a text")
        return content


class StreamOptions(_Request):
    """What a stream carries besides the reply."""

    include_usage: bool | None = None


class TemplateOptions(_Request):
    """The chat template's options that a request may set."""

    enable_thinking: bool | None = None


class LaserOptions(_Request):
    """What this server alone understands; a misspelt option is told, since no other server's could be meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    difficulty: Annotated[str | None, BeforeValidator(_class)] = None  # its class; null: told from the prompt
    probes: bool | None = None  # a stream tells of every probe of its thought, too


Count = Annotated[int, Field(ge=1)]
Budget = Annotated[int, Field(ge=-1)]


class ChatRequest(_Request):
    """A chat to answer. Every field but `messages` may be left out or null; unknown fields are ignored."""

    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None  # 0 and -1: all
    seed: int | None = None
    stop: Annotated[tuple[str, ...], BeforeValidator(_stops)] = ()
    n: Annotated[int | None, BeforeValidator(_one)] = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    thinking_token_budget: Budget | None = None  # -1: the server's
    reasoning_budget: Budget | None = None
    thinking_budget: Budget | None = None
    chat_template_kwargs: TemplateOptions | None = None
    include_reasoning: bool | None = None
    laser: LaserOptions | None = None

    @property
    def limit(self) -> int | None:
        """The most tokens that thought and answer may have together."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def limit_name(self) -> str:
        """The field that set the limit."""
        return "max_completion_tokens" if self.max_completion_tokens is not None else "max_tokens"

    @property
    def thinking(self) -> bool:
        """Whether the model is to think first."""
        if self.chat_template_kwargs is not None and self.chat_template_kwargs.enable_thinking is not None:
            return self.chat_template_kwargs.enable_thinking
        return self.reasoning_effort != "none"

    @property
    def budget(self) -> int | None:
        """The client's own thinking budget, tokens."""
        given = (self.thinking_token_budget, self.reasoning_budget, self.thinking_budget)
        first = next((budget for budget in given if budget is not None), -1)
        return None if first < 0 else first

    @property
    def difficulty(self) -> str | None:
        """The difficulty class that the client states."""
        return None if self.laser is None else self.laser.difficulty

    @property
    def wants_probes(self) -> bool:
        """Whether a stream is to tell of the probes of its thought."""
        return bool(self.stream and self.laser is not None and self.laser.probes)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


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
