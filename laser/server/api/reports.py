"""Models of the small endpoints: model list, health, version, queue, tokenize and detokenize, ending a thought."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from laser.server.api import dialects
from laser.server.api.base import RequestBody, encodable, integer
from laser.server.api.chat import Message

Capability = Literal["completion", "thinking", "tools", "structured_outputs"]


class ControlRequest(RequestBody):
    """What is to be done with a running reply."""

    endpoint: ClassVar[str] = dialects.CONTROL

    id: str  # of the running reply
    action: Literal["reasoning_end"]  # what to do: end its thought


class TokenizeRequest(RequestBody):
    """A text, or a chat as it would be rendered, to be turned into tokens."""

    endpoint: ClassVar[str] = dialects.TOKENIZE

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
                for name in ("prompt", "content", "messages")
            ]
        }
    )

    prompt: Annotated[str, BeforeValidator(encodable)] | None = None  # the text
    content: Annotated[str, BeforeValidator(encodable)] | None = None  # llama.cpp's name for `prompt`
    # the chat, as it would be rendered for a reply
    messages: Annotated[tuple[Message, ...], Field(min_length=1, fail_fast=True)] | None = None


def _integers(tokens: object) -> object:
    """Accepts integral floats such as 7.0; visits each token only if there is a float, because lists may be long."""
    if isinstance(tokens, list) and float in set(map(type, tokens)):
        return [integer(token) for token in tokens]
    return tokens


class DetokenizeRequest(RequestBody):
    """Tokens to be turned into text."""

    endpoint: ClassVar[str] = dialects.DETOKENIZE

    # the token ids
    tokens: Annotated[
        tuple[Annotated[int, Field(ge=0, strict=True)], ...],
        Field(max_length=1_000_000, fail_fast=True),  # a list of errors may be as long
        BeforeValidator(_integers),
    ]


class ModelCard(BaseModel):
    """A model that is served here."""

    id: str  # name of the model, for the field `model` of requests
    object: Literal["model"] = "model"  # kind of the object
    type: Literal["model"] = "model"  # the same, for Anthropic's clients
    created: int  # start of the server, s since 1970
    created_at: str  # the same, RFC 3339
    display_name: str  # name of the model for people
    owned_by: str = "laser"  # who serves the model
    max_model_len: int  # longest prompt and reply together, tokens
    context_length: int  # the same by its other name
    capabilities: list[Capability]  # what the model can do


class ModelList(BaseModel):
    """All models that are served here."""

    object: Literal["list"] = "list"  # kind of the object
    data: list[ModelCard]  # the served models: one
    first_id: str  # name of the first model
    last_id: str  # name of the last model
    has_more: Literal[False] = False  # whether there are more models than these: no


class Health(BaseModel):
    """Whether the server can answer."""

    # `starting`: the model is being loaded; `restarting`: the engine's process is started again, and requests wait;
    # `failed`: only a new server can answer
    status: Literal["ok", "starting", "restarting", "failed"]
    model: str  # name of the served model
    loading: str | None = None  # what is being loaded at the start; null: nothing is
    loaded: float | None = None  # share of it that is loaded; null: it is not known
    restarts: int = 0  # times that the engine's process has been started again
    trouble: str | None = None  # what is wrong with the engine, in words; null: nothing


class Ready(BaseModel):
    """Whether the server takes requests."""

    # `draining`: replies in progress end, new requests are refused; `failing`: the engine's process has ended three
    # times within 60 s, and requests are still taken
    status: Literal["ready", "starting", "draining", "failing", "failed"]


class Version(BaseModel):
    """Which LASER this is."""

    version: str  # the release


class Controlled(BaseModel):
    """What has come of a control call; `ended` is false where no thought goes on."""

    id: str  # of the reply
    action: Literal["reasoning_end"]  # what was done
    ended: bool  # whether a thought was ended


class Tokens(BaseModel):
    """Tokens of a text."""

    count: int  # number of tokens
    max_model_len: int  # longest prompt and reply together, tokens
    tokens: list[int]  # the token ids


class Text(BaseModel):
    """Text of tokens, under both names that clients know."""

    prompt: str  # the text, by vLLM's name
    content: str  # the text, by llama.cpp's name


class TurnReport(BaseModel):
    """A request that waits."""

    id: str  # of the request
    position: int  # place in the queue; 1: starts next
    eta_s: float  # time until it is expected to start


class QueueReport(BaseModel):
    """Who waits for how long."""

    running: int  # requests in the engine
    waiting: int  # requests in the queue
    max_waiting: int  # requests that may wait
    drain_s: float  # until all waiting requests have started
    turned_away: int  # since the start
    requests: list[TurnReport]  # those that wait, in their order
