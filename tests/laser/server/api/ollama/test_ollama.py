"""Ollama's requests are read with their options, and a stream is a line of JSON for each piece."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest
from pydantic import ValidationError

from controller.serving.reply import Channel, Delta
from controller.serving.request import NO_THOUGHT, Outcome
from engine.base import FinishReason
from laser.server.api.errors import BadRequest, validation_error
from laser.server.api.ollama.chat import OllamaChatLines, OllamaChatRequest, with_ids
from laser.server.api.ollama.generate import OllamaGenerateLines, OllamaGenerateRequest
from laser.server.api.ollama.table import OPTIONS
from laser.server.api.shape import LINES, ReplyHeader
from laser.server.api.tools.reply import CallDelta
from models.grammar.grammar import Grammar
from models.tools.offer import ToolCall

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
HEADER = ReplyHeader(id="ollama-1", created=86_400, model="m")


def asked(**body: Any) -> OllamaChatRequest:
    return OllamaChatRequest.model_validate({"messages": HELLO, **body})


@pytest.mark.parametrize(
    ("request_", "theirs"),
    [
        (OllamaChatRequest, ollama._types.ChatRequest),
        (OllamaGenerateRequest, ollama._types.GenerateRequest),
    ],
)
def test_every_field_of_ollamas_client_is_read_or_has_a_treatment(request_: Any, theirs: Any) -> None:
    assert not theirs.model_fields.keys() - request_.known().keys()
    assert not ollama.Options.model_fields.keys() - OPTIONS.keys()


def test_options_are_the_fields_of_the_other_apis() -> None:
    told = asked(
        options={
            "temperature": 0.5, "top_k": 3, "top_p": 0.9, "seed": 7, "num_predict": 12, "stop": ["x"], "num_ctx": 99,
            "num_thread": 4,
        }
    )  # fmt: skip
    assert (told.temperature, told.top_k, told.top_p, told.seed, told.limit) == (0.5, 3, 0.9, 7, 12)
    assert (told.stops, told.unread) == (("x",), ("options.num_ctx",))
    assert asked(options={"num_predict": -2}).limit is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"options": {"num_predict": 0}}, "options.num_predict is 0, must be at least 1"),
        ({"options": {"temperature": 3}}, "options.temperature is 3, must be at most 2"),
        ({"options": {"mirostat": 2}}, "options.mirostat is 2: not done here"),
        ({"options": {"temperatur": 1}}, "options.temperatur is 1: there is no such field; did you mean temperature?"),
        ({"messages": [{"role": "user", "content": "a", "images": ["b"]}]}, "messages.0.images is ['b']: not done"),
        ({"template": "{{ .Prompt }}"}, "template is '{{ .Prompt }}': not done here"),
        ({"format": "yaml"}, "format: is 'yaml', must be 'json' or a JSON schema"),
        ({"think": "hard"}, "think: is 'hard', must be true, false, 'low'"),
    ],
)
def test_what_is_not_done_is_refused_by_name(body: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        asked(**body)
    assert str(validation_error(refused.value.errors(), content_type="application/json")).startswith(told)


def test_a_reply_is_a_stream_unless_the_client_says_no() -> None:
    assert asked().streamed
    assert not asked(stream=False).streamed
    assert OllamaGenerateRequest.model_validate({"prompt": ""}).asks_for_nothing
    assert not asked().asks_for_nothing


def test_an_earlier_thought_reaches_the_template() -> None:
    (message,) = asked(messages=[{"role": "assistant", "content": "a", "thinking": "hm"}]).messages
    assert message.for_template == {"role": "assistant", "content": "a", "reasoning_content": "hm"}


@pytest.mark.parametrize("schema", ["json", {"type": "object"}])
def test_a_format_holds_the_answer(schema: Any) -> None:
    assert asked(format=schema).asked_grammar() == Grammar.json_schema({"type": "object"}, asked_by="format")
    assert asked(format="").asked_grammar() is None


def test_results_belong_to_the_calls_that_they_follow() -> None:
    def call(name: str) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": {"a": 1}}}

    said = asked(
        messages=[
            *HELLO,
            {"role": "assistant", "tool_calls": [call("add"), call("cut"), call("add")]},
            {"role": "tool", "tool_name": "cut", "content": "1"},
            {"role": "tool", "content": "2"},
            {"role": "tool", "tool_name": "add", "content": "3"},
            {"role": "tool", "content": "of no call"},
        ]
    )
    calls, *results = list(with_ids(said.messages))[1:]
    assert [each["id"] for each in calls["tool_calls"]] == ["call_0", "call_1", "call_2"]
    assert [each.get("tool_call_id") for each in results] == ["call_1", "call_0", "call_2", None]


def test_calls_are_told_whole() -> None:
    outcome = Outcome(
        finish_reason=FinishReason.STOP, prompt_tokens=7, completion_tokens=5, thought=NO_THOUGHT, queue_s=0.0,
        total_s=1.0, calls=(ToolCall(id="c", name="add", arguments='{"a": 1}'),),
    )  # fmt: skip
    shape = OllamaChatLines(HEADER)
    assert shape.called(CallDelta(index=0, id="c", name="add", arguments="{")) == b""
    called, end = [json.loads(line) for line in shape.closing(outcome).splitlines()]
    assert called["message"]["tool_calls"] == [{"id": "c", "function": {"name": "add", "arguments": {"a": 1}}}]
    assert (called["done"], end["done"], end["done_reason"]) == (False, True, "stop")
    assert shape.whole("", "", outcome).model_dump()["message"]["tool_calls"] == called["message"]["tool_calls"]


def test_a_stream_is_lines_of_json_between_which_blanks_may_stand() -> None:
    outcome = Outcome(
        finish_reason=FinishReason.STOP, prompt_tokens=7, completion_tokens=5, thought=NO_THOUGHT, queue_s=0.5,
        total_s=2.0, ttft_s=1.0,
    )  # fmt: skip
    shape = OllamaChatLines(HEADER)
    data = shape.piece(Delta(channel=Channel.REASONING, text="h\u2028m")) + LINES.ping
    data += shape.piece(Delta(channel=Channel.CONTENT, text="yes")) + shape.closing(outcome)
    thought, answer, end = [json.loads(line) for line in data.decode().splitlines()]
    assert thought["message"] == {"role": "assistant", "content": "", "thinking": "h\u2028m"}
    assert answer == {
        "model": "m", "created_at": "1970-01-02T00:00:00Z", "done": False,
        "message": {"role": "assistant", "content": "yes"},
    }  # fmt: skip
    assert (end["done_reason"], end["prompt_eval_count"], end["eval_count"]) == ("stop", 7, 5)
    assert (end["total_duration"], end["prompt_eval_duration"], end["eval_duration"]) == (2 * 10**9, 5 * 10**8, 10**9)
    assert end["laser"]["queue_ms"] == 500
    assert json.loads(shape.failure(BadRequest("no"))) == {"error": "no"}


def test_a_hidden_thought_leaves_no_line() -> None:
    hidden = OllamaGenerateLines(ReplyHeader(id="", created=0, model="m", show_reasoning=False))
    assert hidden.piece(Delta(channel=Channel.REASONING, text="hm")) == b""
    assert json.loads(hidden.piece(Delta(channel=Channel.CONTENT, text="a")))["response"] == "a"
