"""Conversations of content blocks, as messages of a chat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from laser.server.api.anthropic.table import MESSAGES_PLACES
from laser.server.api.base import Fields, encodable
from laser.server.api.chat import Message
from laser.server.api.dialects import Treatment
from laser.server.api.errors import shown

SKIPPED = "redacted_thinking"  # a thought that nobody can read
TURNS = ("user", "assistant")  # roles whose messages in a row are one turn
SPEAKERS = {"thinking": "assistant", "tool_use": "assistant", "tool_result": "user"}  # roles of the others' blocks


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


class ToolUseParam(Part):
    """An earlier call of a tool."""

    type: Literal["tool_use"]  # kind of the block: a call
    id: str  # of the call, which its result repeats
    name: str  # of the tool
    input: dict[str, Any]  # its arguments


class ToolResultParam(Part):
    """The result of a call."""

    type: Literal["tool_result"]  # kind of the block: a result
    tool_use_id: str  # of the call
    content: str | list[TextBlockParam] | None = None  # what the tool has said: a text, or a list of text blocks


def _text(blocks: object) -> object:
    """Returns a list of text blocks as one text, anything else as it is. Raises ValueError for another block."""
    if not isinstance(blocks, list):
        return encodable(blocks)
    return "\n".join(_said(number, block, _kind(number, block, "text")) for number, block in enumerate(blocks))


def _kind(number: int, block: object, *kinds: str) -> str:
    """Returns a block's type. Raises ValueError if it is none of `kinds`."""
    kind = block.get("type") if isinstance(block, dict) else type(block).__name__
    if not isinstance(block, dict) or kind not in kinds:
        those = " or ".join(map(repr, kinds))
        raise ValueError(f"block {number} is of type {shown(kind)}, must be {those}: this model reads text only")
    return str(kind)


def _said(number: int, block: Mapping[str, Any], field: str) -> str:
    """Returns a block's text. Raises ValueError if it has none."""
    if not isinstance(block.get(field), str):
        raise ValueError(f"block {number} has no {field}, must be a text")
    return str(encodable(block[field]))


System = Annotated[str | None, BeforeValidator(_text, json_schema_input_type=str | list[TextBlockParam] | None)]
Blocks = list[
    Annotated[
        TextBlockParam | ThinkingBlockParam | RedactedBlockParam | ToolUseParam | ToolResultParam,
        Field(discriminator="type"),
    ]
]


class ToolSaid(Fields):
    """The result of a call, as a text."""

    call: str  # id of the call
    content: str  # what the tool has said


class MessagesTurn(Message):
    """One message of a conversation; messages of the same role in a row are one turn."""

    role: Literal["user", "assistant", "system"]  # who says it
    # what is said: a text, or a list of blocks
    content: Annotated[str | None, BeforeValidator(encodable, json_schema_input_type=str | Blocks)] = Field(
        default=None, validate_default=True
    )
    results: SkipJsonSchema[tuple[ToolSaid, ...]] = ()  # of tools, from the blocks

    @model_validator(mode="before")
    @classmethod
    def _of_blocks(cls, given: object) -> object:
        """Returns a message of blocks as one of texts, calls and results. Raises ValueError for another block."""
        if not isinstance(given, dict):
            return given
        blocks = given.get("content")
        if not isinstance(blocks, list):
            return {**given, "results": ()}
        said: dict[str, list[Any]] = {kind: [] for kind in ("text", "thinking", "tool_use", "tool_result")}
        for number, block in enumerate(blocks):
            if isinstance(block, dict) and block.get("type") == SKIPPED:
                continue
            kind = _kind(number, block, *said)
            if SPEAKERS.get(kind, given.get("role")) != given.get("role"):
                why = f"must be in a message of role {SPEAKERS[kind]!r}"
                raise ValueError(f"block {number} is of type {kind!r}, {why}")
            said[kind].append(READERS[kind](number, block) if kind in READERS else _said(number, block, kind))
        made = {**given, "content": "\n".join(said["text"]), "results": said["tool_result"]}
        made |= {"reasoning_content": "\n".join(said["thinking"])} if said["thinking"] else {}
        return made | ({"tool_calls": said["tool_use"]} if said["tool_use"] else {})

    @property
    def for_templates(self) -> list[dict[str, Any]]:
        """The messages as chat templates expect them: the results of tools first, each one alone."""
        results = [{"role": "tool", "content": each.content, "tool_call_id": each.call} for each in self.results]
        return results if results and not self.content else [*results, self.for_template]


def _call(number: int, block: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a block's call as OpenAI's API has it. Raises ValueError if it lacks what a call has."""
    for field, kind in (("id", str), ("name", str), ("input", dict)):
        if not isinstance(block.get(field), kind):
            raise ValueError(f"block {number} has no {field}, must be {'an object' if kind is dict else 'a text'}")
    return {"id": block["id"], "function": {"name": block["name"], "arguments": block["input"]}}


def _result(number: int, block: Mapping[str, Any]) -> dict[str, str]:
    """Returns a block's result as a text. Raises ValueError if it is none, or of no call."""
    if not isinstance(block.get("tool_use_id"), str):
        raise ValueError(f"block {number} has no tool_use_id, must be a text")
    said = block.get("content")
    if said is not None and not isinstance(said, str | list):
        raise ValueError(f"block {number} has a content of type {type(said).__name__}, must be a text or blocks")
    text = _text(said) or ""
    return {"content": str(text), "call": str(encodable(block["tool_use_id"]))}


READERS: Mapping[str, Callable[[int, Mapping[str, Any]], Any]] = {"tool_use": _call, "tool_result": _result}


def conversation(system: str | None, turns: Iterable[MessagesTurn]) -> list[dict[str, Any]]:
    """Returns a conversation as chat templates expect it: the system's words first, and turns that alternate."""
    chat: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for message in (message for turn in turns for message in turn.for_templates):
        if chat and message["role"] in TURNS and message["role"] == chat[-1]["role"]:
            chat[-1] = {**chat[-1], **message, **_joined(chat[-1], message)}
        else:
            chat.append(dict(message))
    return chat


def _joined(former: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the texts and the calls of two messages in a row as those of one."""
    joined: dict[str, Any] = {}
    for name in ("content", "reasoning_content"):
        texts = [each[name] for each in (former, message) if each.get(name)]
        joined |= {name: "\n".join(texts)} if texts else {}
    calls = [call for each in (former, message) for call in each.get("tool_calls", ())]
    return {**joined, "tool_calls": calls} if calls else joined
