"""Models of the small endpoints: model list, health, version, queue, tokenize and detokenize, ending a thought."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from laser.server.api import dialects
from laser.server.api.base import RequestBody, encodable, integer
from laser.server.api.chat import Message


class ControlRequest(RequestBody):
    """What is to be done with a running reply."""

    endpoint: ClassVar[str] = dialects.CONTROL

    id: str
    action: Literal["reasoning_end"]


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

    prompt: Annotated[str, BeforeValidator(encodable)] | None = None
    content: Annotated[str, BeforeValidator(encodable)] | None = None  # llama.cpp's name for `prompt`
    messages: Annotated[tuple[Message, ...], Field(min_length=1, fail_fast=True)] | None = None


def _integers(tokens: object) -> object:
    """Accepts integral floats such as 7.0; visits each token only if there is a float, because lists may be long."""
    if isinstance(tokens, list) and float in set(map(type, tokens)):
        return [integer(token) for token in tokens]
    return tokens


class DetokenizeRequest(RequestBody):
    """Tokens to be turned into text."""

    endpoint: ClassVar[str] = dialects.DETOKENIZE

    tokens: Annotated[
        tuple[Annotated[int, Field(ge=0, strict=True)], ...],
        Field(max_length=1_000_000, fail_fast=True),  # a list of errors may be as long
        BeforeValidator(_integers),
    ]


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
    position: int  # 1: starts next
    eta_s: float


class QueueReport(BaseModel):
    """Who waits for how long."""

    running: int
    waiting: int
    max_waiting: int
    drain_s: float  # until all waiting requests have started
    turned_away: int  # since the start
    requests: list[TurnReport]
