"""Anthropic's requests are read block by block, and the events of a reply come in their order."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from anthropic.types import message_create_params as params
from anthropic.types.beta import message_create_params as beta_params
from anthropic.types.output_config_param import OutputConfigParam
from anthropic.types.thinking_config_enabled_param import ThinkingConfigEnabledParam
from pydantic import ValidationError

from controller.serving.reply import Channel, Delta
from controller.serving.request import NO_THOUGHT, Outcome
from engine.base import FinishReason
from laser.server.api.anthropic.blocks import conversation
from laser.server.api.anthropic.errors import anthropic_body
from laser.server.api.anthropic.reply import MessagesShape
from laser.server.api.anthropic.request import CountTokensRequest, MessagesRequest
from laser.server.api.anthropic.table import MESSAGES_PLACES
from laser.server.api.dialects import Refused
from laser.server.api.errors import Busy, ContextTooLong, Unavailable, validation_error
from laser.server.api.shape import ReplyHeader
from laser.server.api.tools.reply import CallDelta
from laser.server.intake.bounds import texts
from models.grammar.grammar import Grammar
from models.tools.offer import Calling, ToolCall

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
TEXT = {"type": "text", "text": "a"}


def asked(**body: Any) -> MessagesRequest:
    return MessagesRequest.model_validate({"messages": HELLO, **body})


def refusal(**body: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        asked(**body)
    return str(validation_error(refused.value.errors(), content_type="application/json"))


def test_every_field_of_anthropics_requests_is_read_or_has_a_treatment() -> None:
    fields = frozenset(params.MessageCreateParamsStreaming.__annotations__) - {"workspace_id"}  # a header
    assert len(fields) > 12
    assert not fields - MessagesRequest.known().keys()
    own = frozenset(beta_params.MessageCreateParamsStreaming.__annotations__)
    assert {"mcp_servers", "context_management"} <= own & MessagesRequest.known().keys()
    assert not frozenset(OutputConfigParam.__annotations__) - MESSAGES_PLACES["output_config"].keys()
    assert not frozenset(ThinkingConfigEnabledParam.__annotations__) - MESSAGES_PLACES["thinking"].keys()


def test_a_count_needs_nothing_of_what_shapes_the_reply() -> None:
    count = CountTokensRequest.model_validate({"messages": HELLO, "thinking": {"type": "adaptive"}, "max_tokens": 5})
    assert (count.messages[0].content, count.unread) == ("hello", ())
    assert isinstance(CountTokensRequest.known()["mcp_servers"], Refused)


def test_blocks_become_the_turns_of_a_chat() -> None:
    request = asked(
        system=[{**TEXT, "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}],
        messages=[
            {"role": "user", "content": [TEXT, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, TEXT]},
            {
                "role": "assistant",
                "content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "e"}],
            },
            {"role": "user", "content": "f"},
        ],
    )
    assert conversation(request.system, request.messages) == [
        {"role": "system", "content": "a\nb"},
        {"role": "user", "content": "a\nb\nc"},
        {"role": "assistant", "content": "a\ne", "reasoning_content": "hm"},
        {"role": "user", "content": "f"},
    ]
    assert request.unread == ()


def test_calls_and_their_results_become_messages_of_their_own() -> None:
    called = [{"type": "tool_use", "id": name, "name": "add", "input": {"a": 1}} for name in ("t1", "t2")]
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{**TEXT, "cache_control": None}]}
    request = asked(
        messages=[
            *HELLO,
            {"role": "assistant", "content": [TEXT, called[0]]},
            {"role": "assistant", "content": [called[1]]},
            {"role": "user", "content": [result, {"type": "tool_result", "tool_use_id": "t2", "is_error": True}]},
            {"role": "user", "content": [TEXT]},
        ]
    )
    _, calls, *results, last = conversation(None, request.messages)
    assert (calls["content"], [call["id"] for call in calls["tool_calls"]]) == ("a", ["t1", "t2"])
    assert calls["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1}}
    assert results == [
        {"role": "tool", "content": "a", "tool_call_id": "t1"}, {"role": "tool", "content": "", "tool_call_id": "t2"},
    ]  # fmt: skip
    assert last == {"role": "user", "content": "a"}
    assert request.unread == ("messages.content.is_error",)
    assert {text for _, text in texts(request.messages, "messages")} >= {"t1", "t2", "add", "a"}  # what is bounded


TOOLS: list[dict[str, Any]] = [{"name": "add", "input_schema": {"type": "object"}}, {"name": "cut", "input_schema": {}}]


@pytest.mark.parametrize(
    ("choice", "calling", "only", "parallel"),
    [
        (None, Calling.AUTO, None, True),
        ({"type": "auto", "disable_parallel_tool_use": True}, Calling.AUTO, None, False),
        ({"type": "any"}, Calling.REQUIRED, None, True),
        ({"type": "tool", "name": "cut"}, Calling.REQUIRED, frozenset({"cut"}), False),
    ],
)
def test_tools_are_offered(choice: Any, calling: Calling, only: frozenset[str] | None, parallel: bool) -> None:
    offer = asked(tools=TOOLS, tool_choice=choice).offer
    assert offer is not None
    assert (offer.calling, offer.only, offer.parallel) == (calling, only, parallel)
    assert [tool.name for tool in offer.tools] == ["add", "cut"]
    assert asked(tools=TOOLS, tool_choice={"type": "none"}).offer is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"messages": [{"role": "user", "content": [TEXT, {"type": "image"}]}]}, "messages.0: block 1 is of type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0: block 0 has no text"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages.0: block 0 is of type 'str'"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role is 'tool', must be one of"),
        ({"system": [{"type": "document"}]}, "system: block 0 is of type 'document', must be 'text'"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages.0: block 0 has no tool_use"),
        ({"messages": [{"role": "assistant", "content": [TEXT, {"type": "tool_result", "tool_use_id": "t"}]}]},
         "messages.0: block 1 is of type 'tool_result', must be in a message of role 'user'"),
        ({"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "a"}]}]},
         "messages.0: block 0 is of type 'thinking', must be in a message of role 'assistant'"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools.0.type: is 'bash_20250124', must be 'custom'"),
        ({"tools": [*TOOLS, TOOLS[0]]}, "tools: has 'add' again at 2"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice: names 'x', must be"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: is of type 'any', but tools is empty"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers is"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management is"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type is 'between_tools', must be one of"),
        ({"output_config": {"effort": "none"}}, "output_config.effort is 'none', must be one of"),
    ],
)  # fmt: skip
def test_what_is_not_done_is_refused_by_name(body: dict[str, Any], told: str) -> None:
    assert refusal(**body).startswith(told)


@pytest.mark.parametrize(
    ("body", "shown", "budget", "effort"),
    [
        ({}, False, None, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True, 1024, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, True, None, "low"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, False, None, None),
        ({"thinking": {"type": "disabled"}}, False, None, None),
        ({"output_config": {"effort": "high"}}, False, None, "high"),
        ({"reasoning_effort": "high"}, True, None, "high"),
    ],
)
def test_a_thought_is_shown_to_who_asks_for_it(
    body: dict[str, Any], shown: bool, budget: int | None, effort: str | None
) -> None:
    policy = asked(**body).policy
    assert (policy.expose, policy.max_tokens, policy.effort) == (shown, budget, effort)
    assert policy.enabled is (body.get("thinking") != {"type": "disabled"})


def test_a_format_holds_the_answer() -> None:
    schema = {"type": "object"}
    grammar = asked(output_config={"format": {"type": "json_schema", "schema": schema}}).asked_grammar()
    assert grammar == Grammar.json_schema(schema, asked_by="output_config.format.schema")
    assert refusal(output_config={"format": {"type": "json_schema"}}) == "output_config.format.schema is missing"


def test_an_adaptive_thought_is_no_demand_of_one() -> None:
    assert asked(thinking={"type": "adaptive"}, output_config={"effort": "low"}).asks_for_thought is None
    assert asked(thinking={"type": "enabled", "budget_tokens": 9}).asks_for_thought == "thinking"


def events(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix(b"data: ")) for line in data.split(b"\n") if line.startswith(b"data: ")]


def outcome(reason: FinishReason = FinishReason.STOP, stopped_by: str | None = None) -> Outcome:
    return Outcome(
        finish_reason=reason, prompt_tokens=7, completion_tokens=5, thought=NO_THOUGHT, queue_s=0.0, total_s=1.0,
        stopped_by=stopped_by,
    )  # fmt: skip


def test_a_stream_opens_and_closes_each_block() -> None:
    shape = MessagesShape(ReplyHeader(id="msg_1", created=0, model="m", prompt_tokens=7))
    data = shape.opening()
    for channel, text in ((Channel.REASONING, "h"), (Channel.REASONING, "m"), (Channel.CONTENT, "yes")):
        data += shape.piece(Delta(channel=channel, text=text))
    told = events(data + shape.closing(outcome(stopped_by="no")))
    assert [(each["type"], each.get("index")) for each in told] == [
        ("message_start", None), ("content_block_start", 0), ("content_block_delta", 0), ("content_block_delta", 0),
        ("content_block_delta", 0), ("content_block_stop", 0), ("content_block_start", 1), ("content_block_delta", 1),
        ("content_block_stop", 1), ("message_delta", None), ("message_stop", None),
    ]  # fmt: skip
    whole = MessagesShape(ReplyHeader(id="msg_1", created=0, model="m")).whole("hm", "yes", outcome())
    assert told[4]["delta"] == {"type": "signature_delta", "signature": whole.content[0].signature}  # type: ignore[union-attr]
    assert told[0]["message"]["usage"]["input_tokens"] == told[-2]["usage"]["input_tokens"] == 7
    assert told[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "no"}
    assert told[-2]["laser"]["exit_reason"] is None


def test_a_hidden_thought_and_an_empty_answer_are_one_empty_block() -> None:
    shape = MessagesShape(ReplyHeader(id="msg_1", created=0, model="m", show_reasoning=False))
    assert shape.piece(Delta(channel=Channel.REASONING, text="hm")) == b""
    told = events(shape.closing(outcome(FinishReason.LENGTH)))
    assert [each["type"] for each in told] == [
        "content_block_start", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert told[2]["delta"]["stop_reason"] == "max_tokens"
    short = MessagesShape(ReplyHeader(id="msg_1", created=0, model="m", shortened=True))
    assert short.whole("", "a", outcome(FinishReason.LENGTH)).stop_reason == "model_context_window_exceeded"


def test_a_call_is_a_block_of_its_own() -> None:
    shape = MessagesShape(ReplyHeader(id="msg_1", created=0, model="m"))
    data = shape.piece(Delta(channel=Channel.REASONING, text="hm"))
    data += shape.called(CallDelta(index=0, id="c", name="add", arguments='{"a"'))
    data += shape.called(CallDelta(index=0, id="c", name=None, arguments=": 1}"))
    data += shape.called(CallDelta(index=1, id="d", name="cut", arguments="x"))
    calls = (ToolCall(id="c", name="add", arguments='{"a": 1}'), ToolCall(id="d", name="cut", arguments="x"))
    end = replace(outcome(), calls=calls)
    told = events(data + shape.closing(end))
    begun = [each["content_block"] for each in told if each["type"] == "content_block_start"]
    assert [(block["type"], block.get("id")) for block in begun] == [
        ("thinking", None), ("tool_use", "c"), ("tool_use", "d"),
    ]  # fmt: skip
    assert "".join(each["delta"].get("partial_json", "") for each in told if "delta" in each) == '{"a": 1}x'
    assert told[-2]["delta"]["stop_reason"] == "tool_use"
    whole = MessagesShape(ReplyHeader(id="msg_1", created=0, model="m")).whole("", "", end)
    assert [block.model_dump() for block in whole.content] == [
        {"type": "tool_use", "id": "c", "name": "add", "input": {"a": 1}},
        {"type": "tool_use", "id": "d", "name": "cut", "input": {"invalid": "x"}},
    ]


def test_errors_have_anthropics_types() -> None:
    assert anthropic_body(Busy("full", 2.0))["error"]["type"] == "rate_limit_error"
    assert anthropic_body(Unavailable("ends"))["error"]["type"] == "overloaded_error"
    assert anthropic_body(ContextTooLong("x", param="messages"))["error"]["message"] == "prompt is too long: x"
