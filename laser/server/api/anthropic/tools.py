"""Tools as Anthropic's clients offer them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from laser.server.api.anthropic.blocks import Part
from laser.server.api.base import Fields, Switch
from laser.server.api.errors import shown
from laser.server.api.tools.request import MOST_TOOLS, Schema, Text, ToolName, check_names, offer_of
from models.tools.offer import Calling, OfferedTool, ToolOffer


def _custom(kind: object) -> object:
    """Returns the kind of a tool. Raises ValueError for one that Anthropic defines, which other models do not know."""
    if kind not in (None, "custom"):
        raise ValueError(f"is {shown(kind)}, must be 'custom' or left out: tools of Anthropic's own are not known here")
    return kind


class MessagesTool(Part):
    """A tool that the model may call."""

    place: ClassVar[str] = "tools"

    # kind of the tool: one of the client's
    type: Annotated[Literal["custom"] | None, BeforeValidator(_custom)] = None
    name: ToolName  # by which the model calls it: at most 128 letters, digits, dots, hyphens and underscores
    description: Text | None = None  # what it does, for the model
    input_schema: Schema  # its arguments, as the JSON schema of an object
    strict: Switch | None = None  # true: its arguments always match the schema

    @property
    def offered(self) -> OfferedTool:
        """The tool without its dialect."""
        return OfferedTool.said(self.name, self.description, self.input_schema, self.strict)


class MessagesChoice(Part):
    """Whether tools are called."""

    place: ClassVar[str] = "tool_choice"

    # `auto`: as the model likes; `any`: one call or more; `tool`: a call of the one that is named; `none`: no calls
    type: Literal["auto", "any", "tool", "none"]
    name: ToolName | None = None  # of the tool that must be called
    disable_parallel_tool_use: Switch | None = None  # true: at most one call in a reply

    @property
    def calling(self) -> Calling | None:
        """Whether a call must come; None: none may."""
        return {"none": None, "auto": Calling.AUTO}.get(self.type, Calling.REQUIRED)

    @property
    def names(self) -> tuple[str, ...]:
        """The tools that may be called; none: all."""
        return (self.name,) if self.type == "tool" and self.name is not None else ()

    @property
    def single(self) -> bool:
        """Whether it demands one call, of the tool that it names."""
        return self.type == "tool"


class MessagesTools(Fields):
    """What a conversation may say of tools."""

    tools: Annotated[tuple[MessagesTool, ...], Field(max_length=MOST_TOOLS, fail_fast=True)] | None = None  # to call
    tool_choice: MessagesChoice | None = None  # whether they are called; null: as the model likes

    @field_validator("tools")
    @classmethod
    def _each_once(cls, tools: tuple[MessagesTool, ...] | None) -> tuple[MessagesTool, ...] | None:
        check_names([tool.name for tool in tools or ()])
        return tools

    @field_validator("tool_choice")
    @classmethod
    def _of_the_tools(cls, choice: MessagesChoice | None, others: ValidationInfo) -> MessagesChoice | None:
        if choice is None or choice.type in ("auto", "none") or "tools" not in others.data:
            return choice
        names = [tool.name for tool in others.data["tools"] or ()]
        if choice.type == "any" and not names:
            raise ValueError("is of type 'any', but tools is empty: must have the tool to call")
        if choice.type == "tool" and choice.name not in names:
            known = ", ".join(map(repr, names[:8])) or "none"
            raise ValueError(f"names {shown(choice.name)}, must be one of tools: {known}")
        return choice

    @property
    def offer(self) -> ToolOffer | None:
        """The tools that the reply may call; None: it may call none."""
        choice = self.tool_choice
        parallel = choice is None or choice.disable_parallel_tool_use is not True
        return offer_of([tool.offered for tool in self.tools or ()], choice, parallel=parallel)
