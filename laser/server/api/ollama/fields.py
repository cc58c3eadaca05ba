"""What both of Ollama's requests for a reply share: the options, and that a reply is a stream unless told otherwise."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from laser.server.api.base import INTEGER, Fields, integer
from laser.server.api.dialects import Treatment
from laser.server.api.errors import shown
from laser.server.api.fields import Count, GenerationFields, StopTexts
from laser.server.api.ollama.table import HERE, OLLAMA_PLACES
from laser.server.api.sampling.fields import Penalty
from models.grammar.grammar import Grammar

ENDLESS = (-1, -2)  # words of Ollama's for no limit, and for as much as fits
HOISTED = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)  # options that are fields of the other APIs


def _limit(given: object) -> object:
    number = integer(given)
    return None if number in ENDLESS and not isinstance(number, bool) else number


def _form(given: object) -> object:
    """Returns what the answer is held to; None for an empty text. Raises ValueError if it is no schema."""
    if given == "":
        return None
    if given is not None and given != "json" and not isinstance(given, dict):
        raise ValueError(f"is {shown(given)}, must be 'json' or a JSON schema")
    return given


class OllamaOptions(Fields):
    """How tokens are drawn, and how many."""

    place: ClassVar[str] = "options"

    # longest reply, thought and answer together, tokens; −1 and −2: the server's default
    num_predict: Annotated[
        Count | None, BeforeValidator(_limit, json_schema_input_type=Literal[-1, -2] | Count | None)
    ] = None
    # of sampling; 0: greedy; null: the model's own
    temperature: Annotated[float, Field(ge=0, le=2, strict=True)] | None = None
    # share of the probability that sampling draws from; null: the model's own
    top_p: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    # number of tokens that sampling draws from; 0 and −1: all; null: the model's own
    top_k: Annotated[int, Field(ge=-1, strict=True), INTEGER] | None = None
    # share of the likeliest token's probability that a token must have to be drawn; null: the model's own
    min_p: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    # taken from the logits of tokens that the reply has already; null: the model's own
    presence_penalty: Penalty | None = None
    # taken from a token's logit for each time that the reply has it already; null: the model's own
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Field(strict=True), INTEGER] | None = None  # of sampling; null: a random one
    stop: StopTexts = ()  # texts that end the answer, at most 4; they are left out of it

    @classmethod
    def known(cls) -> Mapping[str, Treatment]:
        return OLLAMA_PLACES[cls.place]


class OllamaFields(GenerationFields, ABC):
    """A request for one reply, in Ollama's words."""

    here: ClassVar[Mapping[str, Treatment]] = HERE
    places: ClassVar[Mapping[str, Mapping[str, Treatment]]] = OLLAMA_PLACES

    options: OllamaOptions | None = None  # how tokens are drawn, and how many
    # what the answer is held to: `json` is a JSON object, anything else a JSON schema
    format: Annotated[
        Literal["json"] | dict[str, Any] | None,
        BeforeValidator(_form, json_schema_input_type=Literal["", "json"] | dict[str, Any] | None),
    ] = None

    @model_validator(mode="after")
    def _hoisted(self) -> Self:
        """Returns the request with its options as the fields by which the other APIs know them."""
        if self.options is None:
            return self
        said: dict[str, Any] = {name: getattr(self.options, name) for name in HOISTED}
        return self.model_copy(update={name: value for name, value in said.items() if value is not None})

    def _grammars(self) -> Iterator[Grammar]:
        if self.format is not None:
            schema = {"type": "object"} if self.format == "json" else self.format
            yield Grammar.json_schema(schema, asked_by="format")
        yield from super()._grammars()

    @property
    def streamed(self) -> bool:
        return self.stream is not False

    @property
    def limit(self) -> int | None:
        return None if self.options is None else self.options.num_predict

    @property
    def limit_name(self) -> str:
        return "options.num_predict"

    @property
    def takes_less(self) -> bool:
        return True

    @property
    def stops(self) -> tuple[str, ...]:
        return self.stop if self.options is None else self.options.stop + self.stop
