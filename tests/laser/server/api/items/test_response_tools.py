"""Tools of /v1/responses: items of earlier calls, tools and choices in their form, call items whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import (
    FunctionToolParam,
    ResponseFunctionToolCallParam,
    ToolChoiceAllowedParam,
    ToolChoiceFunctionParam,
)
from openai.types.responses.response_input_item_param import FunctionCallOutput

from controller.serving.reply import Channel, Delta
from controller.serving.request import NO_THOUGHT, Outcome
from engine.base import FinishReason
from laser.server.api.dialects import RESPONSES, Read
from laser.server.api.items.given import FunctionCallParam, FunctionOutputParam, conversation
from laser.server.api.items.table import RESPONSES_PLACES, ItemPart
from laser.server.api.items.tools import FunctionToolParam as Tool
from laser.server.api.items.tools import NamedToolParam, ToolChoiceParam
from laser.server.api.responses import ResponsesRequest, ResponsesShape
from laser.server.api.shape import ReplyHeader
from laser.server.api.tools.reply import CallDelta
from laser.server.config import ServeConfig
from models.tools.offer import Calling, ToolCall
from tests.laser.server.api.test_chat import sdk
from tests.laser.server.api.test_tools import SAYS
from tests.laser.server.api.test_unread import refusal
from tests.support.agent_engine import AgentOptions
from tests.support.live_server import LiveServer, running

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
ASKED = {"role": "user", "content": "Is it wet in Oslo?"}


def call(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"call_{number}", "name": "weather", "arguments": "{}", **more}


def result(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": "rain", **more}


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


# --- what a request says


def test_calls_stand_in_the_message_of_their_turn_with_the_thought_that_led_to_them() -> None:
    items = [
        ASKED, thought("First."), {"type": "message", "role": "assistant", "content": "I look."}, call(1), call(2),
        result(1), result(2, output=[{"type": "input_text", "text": "sun"}]), thought("Then."), call(3), result(3),
        thought("Well."), {"role": "assistant", "content": "Wet."}, {"role": "user", "content": "Sure?"},
    ]  # fmt: skip
    read = ResponsesRequest.model_validate({"input": items})
    assert read.unread == ()

    def called(*numbers: int) -> list[dict[str, Any]]:
        function = {"name": "weather", "arguments": "{}"}
        return [{"id": f"call_{number}", "type": "function", "function": function} for number in numbers]

    assert conversation(read.input) == [
        ASKED,
        {"role": "assistant", "content": "I look.", "reasoning_content": "First.", "tool_calls": called(1, 2)},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_2", "content": "sun"},
        {"role": "assistant", "content": "", "reasoning_content": "Then.", "tool_calls": called(3)},
        {"role": "tool", "tool_call_id": "call_3", "content": "rain"},
        {"role": "assistant", "content": "Wet."},  # whose thought led to no call
        {"role": "user", "content": "Sure?"},
    ]


def test_a_choice_says_what_must_be_called() -> None:
    def offer(**body: Any) -> Any:
        return ResponsesRequest.model_validate(
            {"input": "?", "tools": [WEATHER, {**WEATHER, "name": "f"}], **body}
        ).offer

    assert offer(tool_choice="none") is offer(tools=[]) is offer(tools=None) is None
    free, named = offer(parallel_tool_calls=False), offer(tool_choice={"type": "function", "name": "f"})
    assert (free.calling, free.parallel, free.only) == (Calling.AUTO, False, None)
    assert free.tools[0].for_template["function"] == {
        key: WEATHER[key] for key in ("name", "description", "parameters")
    }
    assert (named.calling, named.parallel, named.only) == (Calling.REQUIRED, False, {"f"})
    some = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    assert (offer(tool_choice=some).calling, offer(tool_choice=some).only) == (Calling.REQUIRED, {"weather"})


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        (
            {"input": [ASKED, {"type": "web_search_call"}]},
            "input",
            "item 1 is of type 'web_search_call', must be one of",
        ),
        ({"input": [thought("x")]}, "input", "has 0 messages"),
        ({"input": [thought("x"), {"type": "function_call"}]}, "input.1.call_id", "is missing"),
        ({"input": [call(1, name="a b")]}, "input.0.name", "a b"),
        ({"input": [call(1, namespace="x")]}, "input.0.namespace", "a tool has one name here"),
        ({"input": [call(1, argument="x")]}, "input.0.argument", "did you mean arguments?"),
        ({"input": [call(1), result(1, output=[{"type": "input_image"}])]}, "input.1.output", "must be 'text'"),
        ({"input": [call(1), {"type": "function_call_output", "call_id": "1"}]}, "input.1.output", "is missing"),
        ({"input": [ASKED, {"role": "robot", "content": "x"}]}, "input.1.role", "'robot', must be one of"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type", "must be 'function': there are no tools of the server's"),
        ({"tools": [WEATHER, WEATHER]}, "tools", "'weather' again at 1"),
        ({"tools": [{**WEATHER, "strickt": True}]}, "tools.0.strickt", "did you mean strict"),
        ({"tools": [{"type": "function", "function": WEATHER}]}, "tools.0.name", "is missing"),
        ({"tools": [WEATHER], "tool_choice": "any"}, "tool_choice.type", "'required'"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice", "has no name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice", "'weather'"),
        ({"tool_choice": "required"}, "tool_choice", "tools is empty"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(body: dict[str, Any], param: str, said: str) -> None:
    told = refusal(RESPONSES, **body)
    assert told is not None
    assert told[0] == param
    assert said in told[1]


@pytest.mark.parametrize(
    ("place", "part", "openais"),
    [
        ("input.function_call", FunctionCallParam, (ResponseFunctionToolCallParam,)),
        ("input.function_call_output", FunctionOutputParam, (FunctionCallOutput,)),
        ("tools", Tool, (FunctionToolParam,)),
        ("tool_choice", ToolChoiceParam, (ToolChoiceFunctionParam, ToolChoiceAllowedParam)),
        ("tool_choice.tools", NamedToolParam, ()),
    ],
)
def test_the_table_knows_openais_fields_and_says_read_of_just_ours(
    place: str, part: type[ItemPart], openais: tuple[Any, ...]
) -> None:
    table = RESPONSES_PLACES[place]
    assert part.place == place
    assert {name for name, treatment in table.items() if treatment is Read.READ} == set(part.model_fields)
    for openai in openais:
        assert not frozenset(openai.__annotations__) - table.keys()


# --- what comes back


def outcome(reason: FinishReason = FinishReason.STOP, *calls: ToolCall) -> Outcome:
    return Outcome(
        finish_reason=reason, prompt_tokens=1, completion_tokens=1, thought=NO_THOUGHT, queue_s=0.0, total_s=0.0,
        calls=calls,
    )  # fmt: skip


@pytest.mark.parametrize("reason", [FinishReason.STOP, FinishReason.LENGTH])
def test_a_stream_of_calls_ends_with_the_items_of_the_whole_reply(reason: FinishReason) -> None:
    shape = ResponsesShape(ReplyHeader(id="resp_x", created=0, model="x"))
    calls = [ToolCall(id=f"call_{at}", name="weather", arguments='{"city": 1}') for at in range(2)]
    streamed = shape.opening() + shape.piece(Delta(channel=Channel.REASONING, text="hm"))
    streamed += shape.piece(Delta(channel=Channel.CONTENT, text="I look."))
    for at, each in enumerate(calls):
        for name, arguments in ((each.name, ""), (None, '{"city"'), (None, ": 1}")):
            streamed += shape.called(CallDelta(index=at, id=each.id, name=name, arguments=arguments))
    streamed += shape.closing(outcome(reason, *calls))
    told = [json.loads(line[6:]) for line in streamed.decode().splitlines() if line.startswith("data: ")]
    assert [each["sequence_number"] for each in told] == list(range(len(told)))
    whole = ResponsesShape(shape._identity).whole("hm", "I look.", outcome(reason, *calls)).model_dump()
    assert told[-1]["response"]["output"] == whole["output"]
    assert [(item["type"], item["id"]) for item in whole["output"]] == [
        ("reasoning", "rs_x"), ("message", "msg_x"), ("function_call", "fc_x"), ("function_call", "fc_x_1"),
    ]  # fmt: skip
    done = "completed" if reason is FinishReason.STOP else "incomplete"
    assert [item["status"] for item in whole["output"]] == [*["completed"] * 3, done]
    assert whole["status"] == done
    of_calls = [each["type"].removeprefix("response.") for each in told if each.get("output_index") == 3]
    assert of_calls == [
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
    ]  # fmt: skip


def test_a_reply_of_calls_alone_has_no_message() -> None:
    made = ToolCall(id="call_0", name="weather", arguments="{}")
    shape = ResponsesShape(ReplyHeader(id="resp_x", created=0, model="x"))
    shape.called(CallDelta(index=0, id="call_0", name="weather", arguments="{}"))
    shape.closing(outcome(FinishReason.STOP, made))
    whole = ResponsesShape(shape._identity).whole("", "", outcome(FinishReason.STOP, made))
    assert [item.type for item in shape._items] == [item.type for item in whole.output] == ["function_call"]


@pytest.fixture(scope="module")
def agent(random_model: Path) -> Iterator[LiveServer]:
    """A server whose model calls a tool twice until it reads the results."""
    with running(ServeConfig(model=random_model, name="agent", engine=AgentOptions(says=SAYS))) as live:
        yield live


def test_openais_client_runs_an_agent_of_responses(agent: LiveServer) -> None:
    items: list[Any] = [ASKED]
    with sdk(agent) as client:
        for _ in range(3):
            reply = client.responses.create(model="agent", input=items, tools=[WEATHER])  # type: ignore[list-item]
            items += [item.to_dict() for item in reply.output]
            calls = [item for item in reply.output if item.type == "function_call"]
            items += [{"type": "function_call_output", "call_id": made.call_id, "output": "rain"} for made in calls]
            if not calls:
                break
    assert reply.output_text == "It rains in Oslo."
    kinds = ["reasoning", "message", *["function_call"] * 2, *["function_call_output"] * 2, "reasoning", "message"]
    assert [item.get("type") for item in items[1:]] == kinds
    assert [json.loads(item["arguments"])["city"] for item in items if item.get("type") == "function_call"] == [
        "Oslo", "Bergen",
    ]  # fmt: skip
    assert (reply.tools[0].name, reply.tool_choice, reply.parallel_tool_calls) == ("weather", "auto", True)  # type: ignore[union-attr]


def test_openais_client_reads_streamed_calls_of_responses(agent: LiveServer) -> None:
    with (
        sdk(agent) as client,
        client.responses.stream(model="agent", input=[ASKED], tools=[WEATHER]) as events,  # type: ignore[list-item]
    ):
        done = [event.arguments for event in events if event.type == "response.function_call_arguments.done"]
        final = events.get_final_response()
    assert done == ['{"city": "Oslo"}', '{"city": "Bergen"}']
    assert [item.arguments for item in final.output if item.type == "function_call"] == done
    assert final.output_text == "I look."
