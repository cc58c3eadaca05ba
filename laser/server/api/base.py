"""Building blocks of request models: their base, JSON integers, text that a tokenizer can encode."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from laser.server.api.dialects import PLACES, Refused, Treatment, treatments
from laser.server.api.unread import unread, unread_inside

NOT_DONE = "Not done here: refused unless it is one of these values."


def encodable(text: object) -> object:
    """Returns `text` unchanged. Raises ValueError for half a character, which JSON allows and no tokenizer reads."""
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"has half a character at position {error.start}, must be valid Unicode") from error
    return text


class Fields(BaseModel):
    """A part of a request. Names that it does not have are looked at by the RequestBody it is part of."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)
    place: ClassVar[str] = ""  # in a request, of `laser.server.api.dialects`; "": no names but the fields are known

    @classmethod
    def known(cls) -> Mapping[str, Treatment]:
        """The fields that clients may send, and what is done with each."""
        return PLACES.get(cls.place, {})

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        told = handler(schema)
        refused = {name: each for name, each in cls.known().items() if isinstance(each, Refused)}
        fields = handler.resolve_ref_schema(told).setdefault("properties", {})
        for name, treatment in refused.items():
            instead = f" {treatment.instead}." if treatment.instead else ""
            fields[name] = {"enum": [None, *treatment.usual], "description": f"{NOT_DONE}{instead}"}
        return told


class RequestBody(Fields):
    """A request. What changes the reply is read or refused; the names of all else that nobody reads are kept."""

    endpoint: ClassVar[str] = ""  # in `laser.server.api.dialects`; "": none of OpenAI's, vLLM's or llama.cpp's
    here: ClassVar[Mapping[str, Treatment]] = {}  # what is done with fields there, where no table of dialects says it
    places: ClassVar[Mapping[str, Mapping[str, Treatment]]] = PLACES  # the same for the fields of objects in fields
    _unread: tuple[str, ...] = PrivateAttr(default=())

    @property
    def unread(self) -> tuple[str, ...]:
        """The names of the request's fields that were ignored."""
        return self._unread

    @model_validator(mode="wrap")
    @classmethod
    def _nothing_in_silence(cls, body: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(body, dict):
            return handler(body)
        found = unread(body, cls.known(), _own(cls))  # first: a field that is missing may have been misspelt
        made = handler(body)
        unread_inside(body, _own(cls), cls.places, found)
        made._unread = tuple(found)
        return made

    @classmethod
    def known(cls) -> Mapping[str, Treatment]:
        return _table(cls)


@cache
def _table(request: type[RequestBody]) -> Mapping[str, Treatment]:
    return {**treatments(request.endpoint, _own(request)), **request.here}


@cache
def _own(request: type[RequestBody]) -> frozenset[str]:
    return frozenset(request.model_fields)


def integer(number: object) -> object:
    """Converts an integral float to int, since 7.0 is an integer in JSON; returns anything else unchanged."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


INTEGER = BeforeValidator(integer)


Switch = Annotated[bool, Field(strict=True)]
