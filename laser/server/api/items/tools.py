"""Tools as /v1/responses has them: a function's fields stand in the tool itself."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from laser.server.api.base import Fields, Switch
from laser.server.api.errors import shown
from laser.server.api.items.table import ItemPart
from laser.server.api.tools.request import (
    MOST_TOOLS,
    ChoiceWord,
    Schema,
    Text,
    ToolName,
    as_choice,
    check_choice,
    check_names,
    offer_of,
)
from models.tools.offer import Calling, OfferedTool, ToolOffer


def _function(kind: object) -> object:
    """Returns the kind of a tool. Raises ValueError for one that OpenAI's servers run themselves."""
    if kind != "function":
        raise ValueError(f"is {shown(kind)}, must be 'function': there are no tools of the server's own")
    return kind


Function = Annotated[Literal["function"], BeforeValidator(_function)]


class FunctionToolParam(ItemPart):
    """A tool that the model may call."""

    place: ClassVar[str] = "tools"

    type: Function  # kind of the tool: a function of the client's
    name: ToolName  # by which the model calls it: at most 128 letters, digits, dots, hyphens and underscores
    description: Text | None = None  # what it does, for the model
    parameters: Schema | None = None  # its arguments, as the JSON schema of an object; null: it takes none
    strict: Switch | None = None  # true: its arguments always match the schema

    @property
    def offered(self) -> OfferedTool:
        """The tool without its dialect."""
        return OfferedTool.said(self.name, self.description, self.parameters, self.strict)


class NamedToolParam(ItemPart):
    """A tool by its name."""

    place: ClassVar[str] = "tool_choice.tools"

    type: Function = "function"  # kind of the tool: a function of the client's
    name: ToolName  # of the tool


class ToolChoiceParam(ItemPart):
    """Whether tools are called, and which."""

    place: ClassVar[str] = "tool_choice"

    # `function`: the one that is named must be called; `allowed_tools`: only those in `tools` may be; else as the word
    # alone
    type: Literal["none", "auto", "required", "function", "allowed_tools"]
    name: ToolName | None = None  # for `function`: of the tool
    mode: Literal["auto", "required"] | None = None  # for `allowed_tools`: as the word alone; null: `auto`
    # for `allowed_tools`: those that may be called
    tools: Annotated[tuple[NamedToolParam, ...], Field(min_length=1, max_length=MOST_TOOLS)] | None = None

    @model_validator(mode="after")
    def _names_what_it_needs(self) -> Self:
        need = {"function": "name", "allowed_tools": "tools"}.get(self.type)
        if need is not None and getattr(self, need) is None:
            raise ValueError(f"is of type {self.type!r} and has no {need}, must have it")
        return self

    @property
    def calling(self) -> Calling | None:
        """Whether a call must come; None: none may."""
        if self.type == "none":
            return None
        word = {"function": "required", "allowed_tools": self.mode or "auto"}.get(self.type, self.type)
        return Calling(word)

    @property
    def single(self) -> bool:
        """Whether it demands one call, of the tool that it names."""
        return self.type == "function"

    @property
    def names(self) -> tuple[str, ...]:
        """The tools that may be called; none: all."""
        if self.type == "function":
            return () if self.name is None else (self.name,)
        return tuple(tool.name for tool in self.tools or ()) if self.type == "allowed_tools" else ()


class ItemTools(Fields):
    """What a request may say of tools."""

    tools: Annotated[tuple[FunctionToolParam, ...], Field(max_length=MOST_TOOLS, fail_fast=True)] | None = (
        None  # to call
    )
    # `auto`: as the model likes; `none`: no calls; `required`: one call or more; an object: the tools that are named
    tool_choice: Annotated[
        ToolChoiceParam | None, BeforeValidator(as_choice, json_schema_input_type=ChoiceWord | ToolChoiceParam | None)
    ] = None
    parallel_tool_calls: Switch | None = None  # false: at most one call in a reply

    @field_validator("tools")
    @classmethod
    def _each_once(cls, tools: tuple[FunctionToolParam, ...] | None) -> tuple[FunctionToolParam, ...] | None:
        check_names([tool.name for tool in tools or ()])
        return tools

    @field_validator("tool_choice")
    @classmethod
    def _of_the_tools(cls, choice: ToolChoiceParam | None, others: ValidationInfo) -> ToolChoiceParam | None:
        if choice is not None and "tools" in others.data:
            offered = [tool.name for tool in others.data["tools"] or ()]
            check_choice(offered, choice)
        return choice

    @property
    def offer(self) -> ToolOffer | None:
        """The tools that the reply may call; None: it may call none."""
        tools = [tool.offered for tool in self.tools or ()]
        return offer_of(tools, self.tool_choice, parallel=self.parallel_tool_calls is not False)
