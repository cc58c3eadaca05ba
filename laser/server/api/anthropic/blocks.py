"""Conversations of content blocks, as messages of a chat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from laser.server.api.anthropic.table import MESSAGES_PLACES
from laser.server.api.base import Fields, encodable
from laser.server.api.chat import Message
from laser.server.api.dialects import Treatment
from laser.server.api.errors import shown

SKIPPED = "redacted_thinking"  # a thought that nobody can read
TURNS = ("user", "assistant")  # roles whose messages in a row are one turn


class Part(Fields):
    """An object in a request of Anthropic's."""

    @classmethod
    def known(cls) -> Mapping[str, Treatment]:
        return MESSAGES_PLACES.get(cls.place, {})


class TextBlockParam(Part):
    """A text."""

    place: ClassVar[str] = "system"

    type: Literal["text"]  # kind of the block: a text
    text: str  # the text itself


class ThinkingBlockParam(Part):
    """An earlier thought; the chat template says whether the model reads it again."""

    type: Literal["thinking"]  # kind of the block: a thought
    thinking: str  # the thought itself


class RedactedBlockParam(Part):
    """An earlier thought of another server, which nobody here can read: it is left out."""

    type: Literal["redacted_thinking"]  # kind of the block: an encrypted thought


def _text(blocks: object) -> object:
    """Returns a list of text blocks as one text, anything else as it is. Raises ValueError for another block."""
    if not isinstance(blocks, list):
        return encodable(blocks)
    return "\n".join(_said(number, block, "text") for number, block in enumerate(blocks))


def _said(number: int, block: object, *fields: str) -> str:
    """Returns a block's text, which stands in the field that its type names. Raises ValueError for other types."""
    kind = block.get("type") if isinstance(block, dict) else type(block).__name__
    if not isinstance(block, dict) or kind not in fields:
        those = " or ".join(map(repr, fields))
        raise ValueError(f"block {number} is of type {shown(kind)}, must be {those}: this model reads text only")
    if not isinstance(block.get(kind), str):
        raise ValueError(f"block {number} has no {kind}, must be a text")
    return str(encodable(block[kind]))


System = Annotated[str | None, BeforeValidator(_text, json_schema_input_type=str | list[TextBlockParam] | None)]
Blocks = list[Annotated[TextBlockParam | ThinkingBlockParam | RedactedBlockParam, Field(discriminator="type")]]


class MessagesTurn(Message):
    """One message of a conversation; messages of the same role in a row are one turn."""

    role: Literal["user", "assistant", "system"]  # who says it
    # what is said: a text, or a list of blocks
    content: Annotated[str | None, BeforeValidator(encodable, json_schema_input_type=str | Blocks)] = Field(
        default=None, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _of_blocks(cls, given: object) -> object:
        """Returns a message of blocks as one of texts. Raises ValueError for a block of another type."""
        blocks = given.get("content") if isinstance(given, dict) else None
        if not isinstance(given, dict) or not isinstance(blocks, list):
            return given
        own = {"text": list[str](), "thinking": list[str]()}
        for number, block in enumerate(blocks):
            if isinstance(block, dict) and block.get("type") == SKIPPED:
                continue
            said = _said(number, block, *own)
            own[block["type"]].append(said)
        thought = {"reasoning_content": "\n".join(own["thinking"])} if own["thinking"] else {}
        return {**given, "content": "\n".join(own["text"]), **thought}


def conversation(system: str | None, turns: Iterable[MessagesTurn]) -> list[dict[str, Any]]:
    """Returns a conversation as chat templates expect it: the system's words first, and turns that alternate."""
    chat: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for message in (turn.for_template for turn in turns):
        if chat and message["role"] in TURNS and message["role"] == chat[-1]["role"]:
            chat[-1] = {**chat[-1], **message, **_joined(chat[-1], message)}
        else:
            chat.append(dict(message))
    return chat


def _joined(*messages: Mapping[str, str]) -> dict[str, str]:
    """Returns the texts of messages in a row as those of one."""
    said = {name: [each[name] for each in messages if each.get(name)] for name in ("content", "reasoning_content")}
    return {name: "\n".join(texts) for name, texts in said.items() if texts}
