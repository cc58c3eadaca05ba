"""The items of an input: messages, earlier thoughts, calls and their results, as messages of a chat."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, PlainValidator

from laser.server.api.base import encodable
from laser.server.api.chat import Message, TextPart, text_of
from laser.server.api.errors import shown
from laser.server.api.items.table import ItemPart
from laser.server.api.tools.request import Text, ToolName

A_MESSAGE: dict[str, Any] = {
    "contains": {"properties": {"type": {"not": {"const": "reasoning"}}}}
}  # a thought alone says nothing
THOUGHT = "reasoning"


class MessageItemParam(Message):
    """A message among the items of an input."""

    place: ClassVar[str] = "input"

    type: Literal["message"] = "message"  # kind of the item: a message


class ThoughtTextParam(ItemPart):
    """A part of a thought."""

    type: Literal["reasoning_text"] = "reasoning_text"  # kind of the part: a thought's text
    text: Text  # the text itself


class ReasoningItemParam(ItemPart):
    """An earlier thought. The chat template says whether the model reads one again that led to a call; no other is."""

    type: Literal["reasoning"]  # kind of the item: a thought
    content: tuple[ThoughtTextParam, ...] | None = None  # the thought's text; null: it is encrypted, or not told


class FunctionCallParam(ItemPart):
    """An earlier call of a tool."""

    place: ClassVar[str] = "input.function_call"

    type: Literal["function_call"]  # kind of the item: a call
    call_id: Text  # of the call, which its result repeats
    name: ToolName  # of the tool
    arguments: Text = ""  # as JSON text

    @property
    def for_template(self) -> dict[str, Any]:
        """The call as chat templates expect it, but for its arguments."""
        return {"id": self.call_id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


class FunctionOutputParam(ItemPart):
    """The result of an earlier call."""

    place: ClassVar[str] = "input.function_call_output"

    type: Literal["function_call_output"]  # kind of the item: a call's result
    call_id: Text  # of the call
    # what the tool gave: a text, or a list of text parts
    output: Annotated[str, BeforeValidator(text_of, json_schema_input_type=str | list[TextPart])]

    @property
    def for_template(self) -> dict[str, Any]:
        """The result as chat templates expect it."""
        return {"role": "tool", "tool_call_id": self.call_id, "content": self.output}


InputItem: TypeAlias = Message | ReasoningItemParam | FunctionCallParam | FunctionOutputParam
KINDS: dict[str, type[InputItem]] = {
    "message": MessageItemParam,
    THOUGHT: ReasoningItemParam,
    "function_call": FunctionCallParam,
    "function_call_output": FunctionOutputParam,
}


def _items(given: object) -> object:
    """Returns the input as a list of items; a text becomes a user's message. Raises ValueError for other items."""
    if isinstance(given, str):
        return [{"role": "user", "content": encodable(given)}]
    if not isinstance(given, list):
        raise ValueError(f"is {type(given).__name__}, must be a text or a list of items")
    kinds = [item.get("type", "message") if isinstance(item, dict) else type(item).__name__ for item in given]
    for number, kind in enumerate(kinds):
        if kind == "item_reference":
            raise ValueError(f"item {number} is an item_reference: nothing is stored here, send the whole conversation")
        if not isinstance(kind, str) or kind not in KINDS:
            known = ", ".join(map(repr, KINDS))
            raise ValueError(f"item {number} is of type {shown(kind)}, must be one of {known}")
    if not set(kinds) - {THOUGHT}:
        raise ValueError("has 0 messages, needs 1 or more")
    return given


def _item(given: Any) -> InputItem:
    """Reads an item by its type. Raises ValidationError."""
    return KINDS[given.get("type", "message")].model_validate(given)


Items = Annotated[
    list[MessageItemParam | ReasoningItemParam | FunctionCallParam | FunctionOutputParam],
    Field(min_length=1, json_schema_extra=A_MESSAGE),
]
Input = Annotated[
    tuple[Annotated[InputItem, PlainValidator(_item)], ...],
    Field(fail_fast=True),
    BeforeValidator(_items, json_schema_input_type=str | Items),
]


def conversation(items: Iterable[InputItem]) -> list[dict[str, Any]]:
    """Returns the messages of items: an assistant's calls stand in one message with its text and their thought."""
    messages: list[dict[str, Any]] = []
    thought = ""
    for item in items:
        match item:
            case ReasoningItemParam():
                thought = "".join(part.text for part in item.content or ())
            case FunctionCallParam():
                if not messages or messages[-1]["role"] != "assistant":
                    messages.append({"role": "assistant", "content": ""})
                turn = messages[-1]
                turn["tool_calls"] = [*turn.get("tool_calls", ()), item.for_template]
                if thought:
                    turn.setdefault("reasoning_content", thought)
                thought = ""
            case FunctionOutputParam():
                messages.append(item.for_template)
            case Message():
                messages.append(item.for_template)
                thought = thought if item.role == "assistant" else ""
    return messages
