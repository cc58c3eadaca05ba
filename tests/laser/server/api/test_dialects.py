"""The table of request fields forgets none that OpenAI's or another server's API has, and the documentation shows it.

`python -m tests.laser.server.api.test_dialects` prints what docs/api.md has of the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types import completion_create_params as text_params
from openai.types.chat import (
    ChatCompletionAllowedToolChoiceParam,
    ChatCompletionAllowedToolsParam,
    ChatCompletionAssistantMessageParam,
    ChatCompletionContentPartTextParam,
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageFunctionToolCallParam,
    ChatCompletionNamedToolChoiceParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import EasyInputMessageParam, ResponseTextConfigParam
from openai.types.responses import response_create_params as response_params
from openai.types.shared_params import (
    FunctionDefinition,
    Reasoning,
    ResponseFormatJSONObject,
    ResponseFormatJSONSchema,
    ResponseFormatText,
)

from laser.server.api import surfaces
from laser.server.api.base import Fields
from laser.server.api.chat import Message, TextPart
from laser.server.api.dialects import (
    CHAT,
    COMPLETIONS,
    HERE,
    INDIFFERENT,
    PLACES,
    READ,
    REPLIES,
    RESPONSES,
    SHAPING,
    Indifferent,
    Read,
    Refused,
)
from laser.server.api.fields import StreamOptions
from laser.server.api.items.given import MessageItemParam
from laser.server.api.reasoning import ReasoningOptions, ThinkingOptions
from laser.server.api.responses import TextOptions
from laser.server.api.structured.fields import ResponseFormat, StructuredOutputs
from laser.server.api.tools.request import (
    AllowedTools,
    CalledFunction,
    CallParam,
    FunctionFields,
    NamedFunction,
    NamedTool,
    ToolChoice,
    ToolFields,
)
from tests.support.request_fields import BODIES, FORMER_VLLM, LLAMACPP, OLLAMA, SGLANG, VLLM

PARTS: tuple[type[Fields], ...] = (
    Message, TextPart, MessageItemParam, StreamOptions, ReasoningOptions, ThinkingOptions, TextOptions, ResponseFormat,
    StructuredOutputs, ToolFields, FunctionFields, ToolChoice, AllowedTools, NamedTool, NamedFunction, CallParam,
    CalledFunction,
)  # fmt: skip
OTHERS: dict[str, str | dict[str, str]] = {
    "vLLM": VLLM, "vLLM before": FORMER_VLLM, "SGLang": SGLANG, "llama.cpp": LLAMACPP, "Ollama": OLLAMA,
}  # fmt: skip


def openai_fields(endpoint: str) -> frozenset[str]:
    """The fields of OpenAI's requests, from the installed client."""
    kind: Any = {
        CHAT: chat_params.CompletionCreateParamsStreaming,
        COMPLETIONS: text_params.CompletionCreateParamsStreaming,
        RESPONSES: response_params.ResponseCreateParamsStreaming,
    }[endpoint]
    return frozenset(kind.__annotations__)


# --- nothing is forgotten


@pytest.mark.parametrize("endpoint", REPLIES)
def test_every_field_of_openais_requests_is_in_the_table(endpoint: str) -> None:
    assert len(openai_fields(endpoint)) > 15
    assert not openai_fields(endpoint) - BODIES[endpoint].known().keys()


@pytest.mark.parametrize("endpoint", REPLIES)
@pytest.mark.parametrize(
    "server", [VLLM, FORMER_VLLM, SGLANG, LLAMACPP, OLLAMA], ids=["vllm", "former", "sglang", "llamacpp", "ollama"]
)
def test_every_field_of_other_servers_requests_is_in_the_table(endpoint: str, server: Any) -> None:
    fields = frozenset((server[endpoint] if isinstance(server, dict) else server).split())
    assert not fields - BODIES[endpoint].known().keys()


@pytest.mark.parametrize(
    ("place", "kinds"),
    [
        (
            "messages",
            (
                ChatCompletionAssistantMessageParam,
                ChatCompletionUserMessageParam,
                ChatCompletionSystemMessageParam,
                ChatCompletionToolMessageParam,
            ),
        ),
        ("messages.content", (ChatCompletionContentPartTextParam,)),
        ("stream_options", (ChatCompletionStreamOptionsParam,)),
        ("tools", (ChatCompletionFunctionToolParam,)),
        ("tools.function", (FunctionDefinition,)),
        ("tool_choice", (ChatCompletionNamedToolChoiceParam, ChatCompletionAllowedToolChoiceParam)),
        ("tool_choice.allowed_tools", (ChatCompletionAllowedToolsParam,)),
        ("messages.tool_calls", (ChatCompletionMessageFunctionToolCallParam,)),
        ("reasoning", (Reasoning,)),
        ("text", (ResponseTextConfigParam,)),
        ("response_format", (ResponseFormatText, ResponseFormatJSONObject, ResponseFormatJSONSchema)),
        ("input", (EasyInputMessageParam,)),
    ],
)
def test_every_field_inside_openais_fields_is_in_the_table(place: str, kinds: tuple[Any, ...]) -> None:
    for kind in kinds:
        assert not frozenset(kind.__annotations__) - PLACES[place].keys()


def test_the_table_says_read_of_just_the_fields_of_the_models() -> None:
    assert {endpoint: frozenset(names.split()) for endpoint, names in READ.items()} == {
        endpoint: frozenset(body.model_fields) for endpoint, body in BODIES.items()
    }
    openai = {surface.request for surface in surfaces.SURFACES if not surface.request.here}  # others have own tables
    assert openai == {BODIES[endpoint] for endpoint in REPLIES}
    for part in PARTS:
        read = frozenset(name for name, treatment in PLACES[part.place].items() if treatment is Read.READ)
        fields = frozenset(field.alias or name for name, field in part.model_fields.items())
        assert read >= fields - {"type"}
        assert read - {"type"} <= fields


def test_no_field_is_treated_in_two_ways() -> None:
    assert not SHAPING.keys() & INDIFFERENT.keys()


# --- documentation

SHOWN = {place: fields for place, fields in PLACES.items() if not place.startswith("input")}  # the others are as these


def tables() -> str:
    """What docs/api.md has of the table."""
    return "\n".join([*_refused_table(), "", *_harmless_list(), ""])


def _refused_table() -> Iterator[str]:
    yield "| refused, unless it is null or | fields |"
    yield "|---|---|"
    places = {"": SHAPING, **{f"{place}.": fields for place, fields in SHOWN.items()}}
    by_usual: dict[str, list[str]] = {}
    for place, fields in places.items():
        for name, treatment in fields.items():
            if isinstance(treatment, Refused):
                shown = f"`{place}{name}`" if place else _where_unread(name)
                by_usual.setdefault(_values(treatment), []).append(shown)
    for endpoint in REPLIES:
        for name, treatment in HERE[endpoint].items():
            if isinstance(treatment, Refused):
                by_usual.setdefault(_values(treatment), []).append(f"`{name}` of {endpoint}")
    for usual, fields_of in sorted(by_usual.items()):
        yield f"| {usual} | {', '.join(sorted(dict.fromkeys(fields_of)))} |"


def _where_unread(name: str) -> str:
    """A field's name, with the endpoints that do not read it if others do."""
    unread = [str(endpoint) for endpoint in REPLIES if name not in READ[endpoint].split()]
    return f"`{name}`" + (f" of {' and '.join(unread)}" if len(unread) < len(REPLIES) else "")


def _values(treatment: Refused) -> str:
    return " or ".join(f"`{json.dumps(value)}`" for value in treatment.usual) or "nothing else"


def _harmless_list() -> Iterator[str]:
    for kind, said in ((Indifferent.UNSAID, "Without effect on a reply"), (Indifferent.TOLD, "Ignored, and named")):
        names = [_where_unread(name) for name, treatment in INDIFFERENT.items() if treatment is kind]
        for place, fields in SHOWN.items():
            names += [f"`{place}.{name}`" for name, treatment in fields.items() if treatment is kind]
        yield f"- {said}: {', '.join(sorted(names))}."


def test_the_documentation_has_the_table() -> None:
    page = (Path(__file__).parents[4] / "docs" / "api.md").read_text(encoding="utf-8")
    assert tables() in page, "print the tables with python -m tests.laser.server.api.test_dialects"


if __name__ == "__main__":
    print(tables())
