"""The items of a response: its thought, its message and its calls of tools, and what it repeats of the tools."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel

from laser.server.api.sampling.log_probs import ScoredToken
from models.tools.offer import Calling, ToolOffer

Status = Literal["in_progress", "completed", "incomplete"]


class ReasoningText(BaseModel):
    """The thought."""

    type: Literal["reasoning_text"] = "reasoning_text"  # kind of the part: a thought's text
    text: str  # the text of the thought


class OutputText(BaseModel):
    """The answer."""

    type: Literal["output_text"] = "output_text"  # kind of the part: the answer's text
    text: str  # the text of the answer
    annotations: list[str] = []  # none
    logprobs: list[ScoredToken] = []  # of the text's tokens, where `include` asks for them


class ReasoningItem(BaseModel):
    """The thought as an item."""

    type: Literal["reasoning"] = "reasoning"  # kind of the item: a thought
    id: str  # of the item
    status: Status  # how far the item is
    summary: list[str] = []  # none
    content: list[ReasoningText]  # the thought's text


class MessageItem(BaseModel):
    """The answer as an item."""

    type: Literal["message"] = "message"  # kind of the item: a message
    id: str  # of the item
    status: Status  # how far the item is
    role: Literal["assistant"] = "assistant"  # who says it: the assistant
    content: list[OutputText]  # the answer's text


class FunctionCallItem(BaseModel):
    """A call of a tool as an item."""

    type: Literal["function_call"] = "function_call"  # kind of the item: a call
    id: str  # of the item
    status: Status  # how far the item is
    call_id: str  # of the call, for its result to repeat
    name: str  # of the tool
    arguments: str  # its arguments as JSON, as the model wrote them


OutputItem: TypeAlias = ReasoningItem | MessageItem | FunctionCallItem


class FunctionToolReply(BaseModel):
    """A tool that the reply may call."""

    type: Literal["function"] = "function"  # kind of the tool: a function of the client's
    name: str  # by which the model calls it
    description: str  # what it does
    parameters: dict[str, Any]  # its arguments, as the JSON schema of an object
    strict: bool  # whether its arguments always match the schema


class NamedToolReply(BaseModel):
    """A tool by its name."""

    type: Literal["function"] = "function"  # kind of the tool: a function of the client's
    name: str  # of the tool


class AllowedToolsReply(BaseModel):
    """Which of the tools may be called, and whether one must be."""

    type: Literal["allowed_tools"] = "allowed_tools"  # kind of the choice: among some of the tools
    mode: Literal["auto", "required"]  # as the words of tool_choice
    tools: list[NamedToolReply]  # those that may be called


ToolChoiceReply = Literal["none", "auto", "required"] | NamedToolReply | AllowedToolsReply


def told_offer(offer: ToolOffer) -> dict[str, Any]:
    """Returns the fields of a response that repeat what the request says of tools."""
    tools = [
        FunctionToolReply(
            name=tool.name, description=tool.description, parameters=dict(tool.parameters), strict=tool.strict
        )
        for tool in offer.tools
    ]
    return {"tools": tools, "tool_choice": _choice(offer), "parallel_tool_calls": offer.parallel}


def _choice(offer: ToolOffer) -> ToolChoiceReply:
    mode: Literal["auto", "required"] = "required" if offer.calling is Calling.REQUIRED else "auto"
    if offer.only is None:
        return mode
    named = [NamedToolReply(name=tool.name) for tool in offer.callable]
    return named[0] if len(named) == 1 and mode == "required" else AllowedToolsReply(mode=mode, tools=named)
