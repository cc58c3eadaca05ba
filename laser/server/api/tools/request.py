"""The tools of a chat, as OpenAI's API has them, and the calls in its messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from laser.server.api.base import Fields, Switch, encodable
from laser.server.api.errors import shown
from models.prompts.markers import texts_of
from models.tools.offer import Calling, OfferedTool, ToolOffer

MOST_TOOLS = 512
NAME = r"^[A-Za-z0-9_.-]{1,128}$"
ToolName = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, BeforeValidator(encodable)]


def _whole(value: object) -> object:
    for text in texts_of(value):
        encodable(text)
    return value


Schema = Annotated[dict[str, Any], BeforeValidator(_whole)]


class FunctionFields(Fields):
    """What a tool is."""

    place: ClassVar[str] = "tools.function"

    name: ToolName  # by which the model calls it: at most 128 letters, digits, dots, hyphens and underscores
    description: Text | None = None  # what it does, for the model
    parameters: Schema | None = None  # its arguments, as the JSON schema of an object; null: it takes none
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
        return OfferedTool.said(own.name, own.description, own.parameters, own.strict)


class NamedFunction(Fields):
    """The name of a tool."""

    place: ClassVar[str] = "tool_choice.function"

    name: ToolName  # of the tool


class NamedTool(Fields):
    """A tool by its name."""

    place: ClassVar[str] = "tool_choice.allowed_tools.tools"

    type: Literal["function"] = "function"  # kind of the tool: a function
    function: NamedFunction  # which one


class AllowedTools(Fields):
    """Which of the tools may be called, and whether one must be."""

    place: ClassVar[str] = "tool_choice.allowed_tools"

    mode: Literal["auto", "required"]  # as the words of tool_choice
    tools: Annotated[tuple[NamedTool, ...], Field(min_length=1, max_length=MOST_TOOLS)]  # those that may be called


ChoiceWord = Literal["none", "auto", "required"]


class ToolChoice(Fields):
    """Whether tools are called, and which."""

    place: ClassVar[str] = "tool_choice"

    # `function`: the one that is named must be called; `allowed_tools`: only these may be; else as the word alone
    type: Literal["none", "auto", "required", "function", "allowed_tools"]
    function: NamedFunction | None = None  # for `function`: which one
    allowed_tools: AllowedTools | None = None  # for `allowed_tools`: which ones

    @model_validator(mode="after")
    def _names_what_it_needs(self) -> Self:
        if self.type in ("function", "allowed_tools") and getattr(self, self.type) is None:
            raise ValueError(f"has no {self.type}, must name it")
        return self

    @property
    def calling(self) -> Calling | None:
        """Whether a call must come; None: none may."""
        if self.type == "function":
            return Calling.REQUIRED
        word = self.allowed_tools.mode if self.type == "allowed_tools" and self.allowed_tools else self.type
        return None if word == "none" else Calling(word)

    @property
    def single(self) -> bool:
        """Whether it demands one call, of the tool that it names."""
        return self.type == "function"

    @property
    def names(self) -> tuple[str, ...]:
        """The tools that may be called; none: all."""
        if self.type == "function":
            return () if self.function is None else (self.function.name,)
        allowed = self.allowed_tools if self.type == "allowed_tools" else None
        return () if allowed is None else tuple(tool.function.name for tool in allowed.tools)


def as_choice(given: object) -> object:
    """Converts a word to a choice of this type."""
    return {"type": given} if isinstance(given, str) else given


def _tools(given: object) -> object:
    if given is None:
        return ()
    if isinstance(given, list) and len(given) > MOST_TOOLS:
        raise ValueError(f"has {len(given)} tools, must be at most {MOST_TOOLS}")
    return given


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError if two tools have one name."""
    known: set[str] = set()
    for number, name in enumerate(names):
        if name in known:
            raise ValueError(f"has {shown(name)} again at {number}, must have each name once")
        known.add(name)


class CallChoice(Protocol):
    """Whether tools are called, and which, in any dialect."""

    @property
    def calling(self) -> Calling | None:
        """Whether a call must come; None: none may."""

    @property
    def names(self) -> tuple[str, ...]:
        """The tools that may be called; none: all."""

    @property
    def single(self) -> bool:
        """Whether it demands one call, of the tool that it names."""


def check_choice(offered: Sequence[str], choice: CallChoice) -> None:
    """Raises ValueError if a choice demands a call or names tools, and these are not offered."""
    if choice.calling is Calling.REQUIRED and not offered:
        raise ValueError("demands a call, but tools is empty: must have the tool to call")
    for name in choice.names:
        if name not in offered:
            known = ", ".join(map(repr, offered[:8])) or "there are none"
            raise ValueError(f"names {shown(name)}, must be one of tools: {known}")


def offer_of(tools: Sequence[OfferedTool], choice: CallChoice | None, *, parallel: bool) -> ToolOffer | None:
    """Returns what a request offers; None: no call may come. `choice` None: as the model likes."""
    calling = Calling.AUTO if choice is None else choice.calling
    if not tools or calling is None:
        return None
    return ToolOffer(
        tools=tuple(tools),
        calling=calling,
        only=None if choice is None else frozenset(choice.names) or None,
        parallel=parallel and not (choice is not None and choice.single),
    )


Tools = Annotated[
    tuple[ToolFields, ...],
    Field(fail_fast=True),
    BeforeValidator(_tools, json_schema_input_type=list[ToolFields] | None),
]


class ToolsAsked(Fields):
    """What a chat may say of tools."""

    tools: Tools = ()  # that the model may call
    # `auto`: as the model likes; `none`: no calls; `required`: one call or more; an object: the tools that are named
    tool_choice: Annotated[
        ToolChoice | None, BeforeValidator(as_choice, json_schema_input_type=ChoiceWord | ToolChoice | None)
    ] = None
    parallel_tool_calls: Switch | None = None  # false: at most one call in a reply

    @field_validator("tools")
    @classmethod
    def _each_once(cls, tools: tuple[ToolFields, ...]) -> tuple[ToolFields, ...]:
        check_names([tool.function.name for tool in tools])
        return tools

    @field_validator("tool_choice")
    @classmethod
    def _of_the_tools(cls, choice: ToolChoice | None, others: ValidationInfo) -> ToolChoice | None:
        tools = others.data.get("tools")
        if tools is not None and choice is not None:
            offered = [tool.function.name for tool in tools]
            check_choice(offered, choice)
        return choice

    @property
    def offer(self) -> ToolOffer | None:
        """The tools that the reply may call; None: it may call none."""
        tools = [tool.offered for tool in self.tools]
        return offer_of(tools, self.tool_choice, parallel=self.parallel_tool_calls is not False)


class CalledFunction(Fields):
    """What was called."""

    place: ClassVar[str] = "messages.tool_calls.function"

    name: ToolName  # of the tool
    arguments: Text | Schema = ""  # as JSON text, or as the object itself


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
