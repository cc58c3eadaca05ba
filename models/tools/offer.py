"""What a request offers its model: tools, and whether one must be called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}}  # the parameters of a tool that takes none


class Calling(StrEnum):
    """Whether a reply calls tools."""

    AUTO = "auto"  # as the model likes
    REQUIRED = "required"  # at least one call, and nothing beside the calls


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTool:
    """A tool of the client's."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: NOTHING)  # JSON schema of an object
    strict: bool = False  # its arguments must be valid

    @classmethod
    def said(
        cls, name: str, description: str | None, parameters: Mapping[str, Any] | None, strict: bool | None
    ) -> OfferedTool:
        """Returns the tool of a request, where None is for what it leaves out."""
        return cls(
            name=name,
            description=description or "",
            parameters=NOTHING if parameters is None else parameters,
            strict=strict is True,
        )

    @property
    def for_template(self) -> dict[str, Any]:
        """The tool as chat templates expect it."""
        told = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": told}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOffer:
    """The tools of a request. `callable` are those that the reply may call."""

    tools: tuple[OfferedTool, ...]
    calling: Calling = Calling.AUTO
    only: frozenset[str] | None = None  # names of those that may be called; None: all
    parallel: bool = True  # False: at most one call

    @property
    def callable(self) -> tuple[OfferedTool, ...]:
        """The tools that the reply may call."""
        return tuple(tool for tool in self.tools if self.only is None or tool.name in self.only)

    @property
    def schemas(self) -> dict[str, Mapping[str, Any]]:
        """The schema of each tool's parameters, by name."""
        return {tool.name: tool.parameters for tool in self.tools}

    @property
    def held_by(self) -> str | None:
        """The field for which a grammar must hold the reply; None: it is free."""
        if self.calling is Calling.REQUIRED or self.only is not None:
            return "tool_choice"
        if any(tool.strict for tool in self.tools):
            return "tools"
        return None if self.parallel else "parallel_tool_calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A whole call of a reply."""

    id: str
    name: str
    arguments: str  # JSON, as the model wrote it


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMarks:
    """The texts of tool calls that the serving loop must know."""

    starts: tuple[str, ...]  # they end a thought, and begin the answer
    kept: tuple[str, ...] = ()  # markers of thoughts that calls are written with, too


def as_mapping(arguments: str) -> Any:
    """Returns arguments as the object that their JSON is; arguments that are no object stay a text."""
    if not arguments.strip():
        return {}
    try:
        value = json.loads(arguments, strict=False)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def as_object(arguments: str) -> dict[str, Any]:
    """Returns arguments as an object, for APIs that have nothing else; a text that is none stands in it, `invalid`."""
    value = as_mapping(arguments)
    return value if isinstance(value, dict) else {"invalid": value}
