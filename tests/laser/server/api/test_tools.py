"""Tools over HTTP: what is offered, what is read of a reply, and what goes back in the next turn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field, ValidationError

from controller.serving.reply import Channel, Delta
from controller.serving.request import NO_THOUGHT, Outcome
from engine.base import FinishReason
from laser.server.api.chat import ChatRequest
from laser.server.api.errors import validation_error
from laser.server.api.shape import finish_word
from laser.server.api.tools.reply import ToolReply
from laser.server.config import ServeConfig
from models.tools.form import CallFormat
from models.tools.offer import Calling
from models.tools.reader import reader_of
from tests.laser.server.api.test_chat import chunks, sdk, stream
from tests.support.agent_engine import AgentOptions
from tests.support.live_server import LiveServer, running
from tests.support.parrot_engine import ParrotOptions

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HELLO = [{"role": "user", "content": "Is it wet in Oslo?"}]
CALLS = (
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Bergen"}}\n</tool_call>'
)
SAYS = f"They ask for the weather.\n</think>\n\nI look.\n{CALLS}"


@pytest.fixture(scope="module")
def caller(random_model: Path) -> Iterator[LiveServer]:
    """A server whose model thinks, says a sentence and calls a tool twice, whatever it is asked."""
    with running(ServeConfig(model=random_model, name="caller", engine=ParrotOptions(says=SAYS))) as live:
        yield live


def test_a_reply_has_its_calls_beside_its_text(caller: LiveServer) -> None:
    reply = sdk(caller).chat.completions.create(model="caller", messages=HELLO, tools=[WEATHER])  # type: ignore[list-item, arg-type]
    choice = reply.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I look."
    calls = choice.message.tool_calls or []
    assert [(call.type, call.function.name, json.loads(call.function.arguments)) for call in calls] == [  # type: ignore[union-attr]
        ("function", "weather", {"city": "Oslo"}),
        ("function", "weather", {"city": "Bergen"}),
    ]
    assert len({call.id for call in calls}) == 2
    assert choice.message.reasoning == "They ask for the weather."  # type: ignore[attr-defined]


def test_a_stream_has_each_calls_name_first_and_then_its_arguments(caller: LiveServer) -> None:
    parts = chunks(stream(caller, messages=HELLO, tools=[WEATHER], max_tokens=400))
    pieces = [each for part in parts for each in part["choices"][0]["delta"].get("tool_calls", ())]
    firsts = [piece for piece in pieces if "id" in piece]
    assert [(piece["index"], piece["type"], piece["function"]["name"]) for piece in firsts] == [
        (0, "function", "weather"),
        (1, "function", "weather"),
    ]
    arguments = {0: "", 1: ""}
    for piece in pieces:
        arguments[piece["index"]] += piece["function"]["arguments"]
    assert arguments == {0: '{"city": "Oslo"}', 1: '{"city": "Bergen"}'}
    assert len(pieces) > 6
    assert parts[-1]["choices"][0]["finish_reason"] == "tool_calls"
    said = "".join(part["choices"][0]["delta"].get("content", "") for part in parts)
    assert said == "I look."


def test_openais_client_parses_calls_of_a_stream(caller: LiveServer) -> None:
    with sdk(caller).chat.completions.stream(model="caller", messages=HELLO, tools=[WEATHER]) as events:  # type: ignore[list-item, arg-type]
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        final = events.get_final_completion()
    assert [event.arguments for event in done] == ['{"city": "Oslo"}', '{"city": "Bergen"}']
    assert final.choices[0].finish_reason == "tool_calls"


def test_without_an_offer_a_call_is_text(caller: LiveServer) -> None:
    for more in ({}, {"tools": [WEATHER], "tool_choice": "none"}, {"tools": []}):
        reply = caller.post(messages=HELLO, max_tokens=400, **more).json()["choices"][0]
        assert reply["finish_reason"] == "stop"
        assert reply["message"]["content"] == f"I look.\n{CALLS}"
        assert "tool_calls" not in reply["message"]


def test_a_reply_that_is_cut_inside_a_call_says_length() -> None:
    outcome = Outcome(
        finish_reason=FinishReason.LENGTH, prompt_tokens=1, completion_tokens=1, thought=NO_THOUGHT, queue_s=0.0,
        total_s=0.0,
    )  # fmt: skip
    cut = CALLS[:-30]
    for eager in (False, True):
        reader = reader_of(CallFormat.HERMES, {"weather": {}}, eager=eager)
        *told, ended = ToolReply(reader).told([Delta(channel=Channel.CONTENT, text=cut), outcome])
        assert isinstance(ended, Outcome)
        assert finish_word(ended) == "length"
        assert len(ended.calls) == 1 + eager
        content = "".join(each.text for each in told if isinstance(each, Delta))
        assert content == ("" if eager else cut[cut.rindex("<tool_call>") :])


def test_a_thought_with_tools_is_not_tried_for_an_answer(caller: LiveServer) -> None:
    laser = caller.post(messages=HELLO, tools=[WEATHER], max_tokens=400).json()["laser"]
    assert (laser["exit_reason"], laser["probes"]) == ("natural", 0)


def test_an_agent_calls_reads_the_results_and_answers(random_model: Path) -> None:
    config = ServeConfig(model=random_model, name="agent", engine=AgentOptions(says=SAYS))
    messages: list[Any] = [*HELLO]
    with running(config) as agent:
        client = sdk(agent).chat.completions
        for _ in range(3):
            choice = client.create(model="agent", messages=messages, tools=[WEATHER]).choices[0]  # type: ignore[list-item]
            messages.append({**choice.message.model_dump(exclude_none=True), "content": choice.message.content})
            for call in choice.message.tool_calls or []:
                messages.append({"role": "tool", "tool_call_id": call.id, "content": "rain"})
            if choice.finish_reason == "stop":
                break
    assert choice.message.content == "It rains in Oslo."
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "assistant"]


# --- what must be called: the bundled model has not learnt these tools, and a grammar holds it

PLAN = {
    "type": "function",
    "function": {
        "name": "plan",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
STOP = {"type": "function", "function": {"name": "stop"}}
NAMED = {"type": "function", "function": {"name": "plan"}}


def valid(call: dict[str, Any]) -> bool:
    """Whether a call is one of `plan` whose arguments match its schema."""
    arguments = json.loads(call["function"]["arguments"])
    days = arguments["days"]
    return call["function"]["name"] == "plan" and arguments["city"] in ("Oslo", "Rome") and days in range(1, 10)


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [PLAN], "tool_choice": "required"},
        {"tools": [PLAN], "tool_choice": "required", "enable_thinking": False},
        {"tools": [PLAN, STOP], "tool_choice": NAMED, "temperature": 1.0, "seed": 3},
        {"tools": [PLAN], "tool_choice": "required", "thinking_budget": 8, "parallel_tool_calls": False},
    ],
)
def test_what_must_be_called_is_called_with_valid_arguments(server: LiveServer, body: dict[str, Any]) -> None:
    reply = server.post(max_tokens=300, **body).json()
    choice = reply["choices"][0]
    calls = choice["message"]["tool_calls"]
    assert all(map(valid, calls))
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "tool_calls"
    assert reply["laser"]["probes"] == 0
    if body.get("parallel_tool_calls") is False or body["tool_choice"] == NAMED:
        assert len(calls) == 1


def test_a_stream_of_what_must_be_called_is_valid_too(server: LiveServer) -> None:
    parts = chunks(stream(server, max_tokens=300, tools=[PLAN, STOP], tool_choice=NAMED))
    pieces = [each for part in parts for each in part["choices"][0]["delta"].get("tool_calls", ())]
    arguments = "".join(piece["function"]["arguments"] for piece in pieces)
    assert valid({"function": {"name": pieces[0]["function"]["name"], "arguments": arguments}})
    assert len(pieces) > 3
    assert parts[-1]["choices"][0]["finish_reason"] == "tool_calls"


class Trip(BaseModel):
    """Where to go, and for how long."""

    city: Literal["Oslo", "Rome"]
    days: int = Field(ge=1, le=9)


def test_openais_client_parses_the_arguments_of_a_strict_tool(server: LiveServer) -> None:
    reply = sdk(server).chat.completions.parse(
        model="little",
        messages=HELLO,
        tools=[openai.pydantic_function_tool(Trip)],
        tool_choice="required",
        max_tokens=300,
    )  # type: ignore[call-overload]
    for call in reply.choices[0].message.tool_calls:
        assert isinstance(call.function.parsed_arguments, Trip)


def test_a_schema_that_cannot_be_held_is_refused_by_its_keyword(server: LiveServer) -> None:
    odd = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": odd, "strict": True}}
    reply = server.post(tools=[tool])
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "tools"
    assert "uniqueItems" in reply.json()["error"]["message"]


# --- what is asked


def asked(**body: Any) -> ChatRequest:
    return ChatRequest.model_validate({"messages": HELLO, "tools": [WEATHER], **body})


def test_a_choice_says_what_must_be_called() -> None:
    assert asked(tool_choice="none").offer is None
    assert asked(tools=None).offer is None
    free, named = asked().offer, asked(tool_choice={"type": "function", "function": {"name": "weather"}}).offer
    assert free is not None
    assert (free.calling, free.parallel, free.held_by) == (Calling.AUTO, True, None)
    assert named is not None
    assert (named.calling, named.parallel, named.only, named.held_by) == (
        *(Calling.REQUIRED, False, frozenset(("weather",)), "tool_choice"),
    )
    one = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool(name="weather")]}}
    allowed = asked(tools=[WEATHER, tool()], tool_choice=one).offer
    assert allowed is not None
    assert ([each.name for each in allowed.callable], allowed.calling) == (["weather"], Calling.AUTO)
    assert allowed.held_by == "tool_choice"
    assert (required := asked(tool_choice="required").offer) is not None
    assert (required.calling, required.parallel) == (Calling.REQUIRED, True)


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **function}}


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"tools": [tool(), tool()]}, "tools", "'f' again at 1"),
        ({"tools": [tool(name="a b")]}, "tools.0.function.name", "a b"),
        ({"tools": [tool(parameters=[])]}, "tools.0.function.parameters", "dictionary"),
        ({"tools": [tool(strickt=True)]}, "tools.0.function.strickt", "did you mean strict"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type", "function"),
        ({"tools": [tool()] * 513}, "tools", "at most 512"),
        ({"tool_choice": "any"}, "tool_choice", "required"),
        ({"tool_choice": "required", "tools": []}, "tool_choice", "tools is empty"),
        ({"tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice", "'weather'"),
        ({"functions": [{"name": "f"}]}, "functions", "tools is read"),
        ({"function_call": {"name": "f"}}, "function_call", "tool_choice is read"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [{"id": "1", **tool()}]}]}, "messages", "'user'"),
        ({"messages": [{"role": "assistant", "tool_calls": [tool()]}]}, "messages", "id"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(body: dict[str, Any], param: str, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        asked(**body)
    refusal = validation_error(refused.value.errors(), content_type="application/json")
    assert (refusal.status, (refusal.param or "").startswith(param)) == (400, True)
    assert said in str(refusal)
