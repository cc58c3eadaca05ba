"""Building blocks of request models: a tolerant base model, JSON integers, text that a tokenizer can encode."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def encodable(text: object) -> object:
    """Returns `text` unchanged. Raises ValueError for half a character, which JSON allows and no tokenizer reads."""
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"has half a character at position {error.start}, must be valid Unicode") from error
    return text


class Fields(BaseModel):
    """A part of a request: unknown fields are ignored, since clients send what other servers know."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


def integer(number: object) -> object:
    """Converts an integral float to int, since 7.0 is an integer in JSON; returns anything else unchanged."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


INTEGER = BeforeValidator(integer)


Switch = Annotated[bool, Field(strict=True)]
