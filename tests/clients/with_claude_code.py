"""A coding agent that speaks Anthropic's dialect as Claude Code does: its models' names, headers, blocks and calls.

The agent itself sends a prompt of more tokens than the bundled model can take, so its requests are made here, smaller,
with Anthropic's own client.
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from typing import Any

import anthropic
from checks import ANSWER, MODEL, QUESTION, URL, check, done

CLIENT = anthropic.Anthropic(base_url=URL, auth_token="unused", max_retries=0)
LARGE, SMALL = "claude-opus-9", "claude-haiku-9"
KEPT = {"type": "ephemeral"}
TOOLS: Any = [
    {
        "name": "Read",
        "description": "Reads a file.",
        "input_schema": {
            "type": "object", "properties": {"file_path": {"type": "string"}}, "required": ["file_path"],
            "additionalProperties": False, "$schema": "http://json-schema.org/draft-07/schema#",
        },
    },
]  # fmt: skip
REQUEST: Any = {
    "model": LARGE,
    "max_tokens": 600,
    "system": [
        {"type": "text", "text": "You are a coding agent.", "cache_control": KEPT},
        {"type": "text", "text": "Be brief.", "cache_control": KEPT},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>Nothing.</system-reminder>"},
                {"type": "text", "text": QUESTION, "cache_control": KEPT},
            ],
        }
    ],
    "metadata": {"user_id": "user_0_account__session_0"},
    "betas": ["claude-code-20250219", "interleaved-thinking-2025-05-14", "context-management-2025-06-27"],
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
}


def streamed(**more: Any) -> Any:
    with CLIENT.beta.messages.stream(**{**REQUEST, **more}) as stream:
        return stream.get_final_message()


@check("a turn with a thinking budget")
def budget() -> None:
    reply = streamed(thinking={"type": "enabled", "budget_tokens": 500})
    assert [block.type for block in reply.content] == ["thinking", "text"], reply.content
    assert reply.stop_reason == "end_turn", reply.stop_reason


@check("a turn with an adaptive thought and an effort")
def adaptive() -> None:
    reply = streamed(thinking={"type": "adaptive"}, output_config={"effort": "medium"})
    assert reply.content[-1].type == "text"


@check("a title by the small model, without a thought")
def title() -> None:
    reply = CLIENT.beta.messages.create(model=SMALL, max_tokens=400, messages=[{"role": "user", "content": QUESTION}])
    assert ANSWER in reply.content[0].text, reply.content  # type: ignore[union-attr]


@check("the count of a conversation's tokens")
def count() -> None:
    told = {name: REQUEST[name] for name in ("model", "system", "messages", "betas")}
    assert CLIENT.beta.messages.count_tokens(**told).input_tokens > 20


@check("a conversation that is too long is told so")
def too_long() -> None:
    told = ""
    try:
        CLIENT.messages.create(model=LARGE, max_tokens=9, messages=[{"role": "user", "content": "1 + " * 20_000}])
    except anthropic.BadRequestError as error:
        told = error.message
    assert "prompt is too long" in told, told


@check("tools are listed, and one is called")
def tools() -> None:
    reply = streamed(tools=TOOLS, tool_choice={"type": "any"}, thinking={"type": "adaptive"})
    call = reply.content[-1]
    assert (call.type, call.name, reply.stop_reason) == ("tool_use", "Read", "tool_use"), reply.content
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "1 print(92)"}]}
    again = streamed(
        tools=TOOLS,
        messages=[
            *REQUEST["messages"],
            {"role": "assistant", "content": reply.content},
            {"role": "user", "content": [{**result, "cache_control": KEPT}]},
        ],
    )
    assert again.stop_reason in ("end_turn", "tool_use", "max_tokens"), again.stop_reason


@check("the list of models, and any alias of one")
def models() -> None:
    assert [model.id for model in CLIENT.models.list()] == [MODEL]
    assert [CLIENT.models.retrieve(name).id for name in (LARGE, SMALL)] == [MODEL, MODEL]
    with contextlib.suppress(anthropic.NotFoundError):
        raise AssertionError(CLIENT.models.retrieve("gpt-9"))


def asked(path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(URL + path, data), timeout=60) as reply:
        return json.load(reply)


@check("what its launcher asks of Ollama: the version, what is loaded, and that it is kept by its alias")
def launcher() -> None:
    version = asked("/api/version")["version"].split(".")
    assert [part.isdecimal() for part in version] == [True] * 3, version
    for kept in ("10m", -1, 0):
        told = asked("/api/generate", {"model": LARGE, "keep_alive": kept, "stream": False})
        assert (told["model"], told["done"], told["response"]) == (MODEL, True, ""), told
        (loaded,) = asked("/api/ps")["models"]
        assert (loaded["model"], loaded["expires_at"][:4]) == (f"{MODEL}:latest", "9999"), loaded


done()
