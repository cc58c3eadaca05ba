"""The tools of a chat, as OpenAI's API has them, and the calls in its messages."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from laser.server.api.base import Fields, Switch, encodable
from laser.server.api.errors import shown
from models.prompts.markers import texts_of
from models.tools.offer import NOTHING, Calling, OfferedTool, ToolOffer

MOST_TOOLS = 512
NAME = r"^[A-Za-z0-9_.-]{1,128}$"
ToolName = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, BeforeValidator(encodable)]


def _whole(value: object) -> object:
    for text in texts_of(value):
        encodable(text)
    return value


class FunctionFields(Fields):
    """What a tool is."""

    place: ClassVar[str] = "tools.function"

    name: ToolName  # by which the model calls it: at most 128 letters, digits, dots, hyphens and underscores
    description: Text | None = None  # what it does, for the model
    # its arguments, as the JSON schema of an object; null: it takes none
    parameters: Annotated[dict[str, Any], BeforeValidator(_whole)] | None = None
    strict: Switch | None = None  # true: its arguments always match the schema


class ToolFields(Fields):
    """A tool that the model may call."""

    place: ClassVar[str] = "tools"

    type: Literal["function"] = "function"  # kind of the tool: a function of the client's
    function: FunctionFields  # the function

    @property
    def offered(self) -> OfferedTool:
        """The tool without its dialect."""
        own = self.function
        return OfferedTool(
            name=own.name,
            description=own.description or "",
            parameters=NOTHING if own.parameters is None else own.parameters,
            strict=own.strict is True,
        )


class NamedFunction(Fields):
    """The name of a tool."""

    place: ClassVar[str] = "tool_choice.function"

    name: ToolName  # of the tool


class NamedTool(Fields):
    """The tool that must be called."""

    place: ClassVar[str] = "tool_choice"

    type: Literal["function"] = "function"  # kind of the tool: a function
    function: NamedFunction  # which one


def _tools(given: object) -> object:
    if given is None:
        return ()
    if isinstance(given, list) and len(given) > MOST_TOOLS:
        raise ValueError(f"has {len(given)} tools, must be at most {MOST_TOOLS}")
    return given


Tools = Annotated[
    tuple[ToolFields, ...],
    Field(fail_fast=True),
    BeforeValidator(_tools, json_schema_input_type=list[ToolFields] | None),
]
ChoiceWord = Literal["none", "auto", "required"]


class ToolsAsked(Fields):
    """What a chat may say of tools."""

    tools: Tools = ()  # that the model may call
    # `auto`: as the model likes; `none`: no calls; `required`: one call or more; an object: a call of the tool it names
    tool_choice: ChoiceWord | NamedTool | None = None
    parallel_tool_calls: Switch | None = None  # false: at most one call in a reply

    @field_validator("tools")
    @classmethod
    def _each_once(cls, tools: tuple[ToolFields, ...]) -> tuple[ToolFields, ...]:
        names: set[str] = set()
        for number, tool in enumerate(tools):
            if tool.function.name in names:
                raise ValueError(f"has {shown(tool.function.name)} again at {number}, must have each name once")
            names.add(tool.function.name)
        return tools

    @field_validator("tool_choice")
    @classmethod
    def _of_the_tools(cls, choice: Any, others: ValidationInfo) -> Any:
        tools = others.data.get("tools")
        if tools is None or choice in (None, "none", "auto"):
            return choice
        names = [tool.function.name for tool in tools]
        if choice == "required":
            if not names:
                raise ValueError("is 'required', but tools is empty: must have the tool to call")
        elif choice.function.name not in names:
            known = ", ".join(map(repr, names[:8])) or "none"
            raise ValueError(f"names {shown(choice.function.name)}, must be one of tools: {known}")
        return choice

    @property
    def offer(self) -> ToolOffer | None:
        """The tools that the reply may call; None: it may call none."""
        if not self.tools or self.tool_choice == "none":
            return None
        named = self.tool_choice if isinstance(self.tool_choice, NamedTool) else None
        return ToolOffer(
            tools=tuple(tool.offered for tool in self.tools),
            calling=Calling.AUTO if self.tool_choice in (None, "auto") else Calling.REQUIRED,
            only=None if named is None else frozenset((named.function.name,)),
            parallel=self.parallel_tool_calls is not False and named is None,
        )


class CalledFunction(Fields):
    """What was called."""

    place: ClassVar[str] = "messages.tool_calls.function"

    name: ToolName  # of the tool
    arguments: Text | Annotated[dict[str, Any], BeforeValidator(_whole)] = ""  # as JSON text, or as the object itself


class CallParam(Fields):
    """A call that an assistant's earlier message made."""

    place: ClassVar[str] = "messages.tool_calls"

    id: Text  # of the call, which its result repeats
    type: Literal["function"] = "function"  # kind of the tool: a function
    function: CalledFunction  # what was called

    @property
    def for_template(self) -> dict[str, Any]:
        """The call as chat templates expect it, but for its arguments."""
        own = self.function
        return {"id": self.id, "type": "function", "function": {"name": own.name, "arguments": own.arguments}}
