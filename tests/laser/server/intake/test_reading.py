"""Bodies are measured before they are parsed, and every text in them is bounded by name."""

from __future__ import annotations

import json
import pickle
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from laser.server.api.chat import ChatRequest
from laser.server.api.completions import TextRequest
from laser.server.api.errors import ApiError, BadRequest, Busy, ContextTooLong, ErrorCode, TooLarge, no_object, shown
from laser.server.api.ollama.chat import OllamaChatRequest
from laser.server.api.reports import DetokenizeRequest, TokenizeRequest
from laser.server.api.responses import ResponsesRequest
from laser.server.intake.bounds import TextBounds
from laser.server.intake.framing import PIECE, Assembly, pieces
from laser.server.intake.reading import read, structure
from laser.server.intake.tokenizing import TOLD_BOUNDS
from tests.support.engine_requests import search

BOUNDS = TextBounds(tokens=100, token_bytes=10)
WIDE = TextBounds(tokens=1 << 20, token_bytes=10)
LONG = "x" * 1001

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=40,
)


def chat(*messages: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"messages": messages or [{"role": "user", "content": "x"}], **more}).encode()


def depth(value: Any) -> int:
    if isinstance(value, dict | list):
        return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def openings(value: Any) -> int:
    if isinstance(value, dict | list):
        return 1 + sum(map(openings, value.values() if isinstance(value, dict) else value))
    return 0


@pytest.mark.slow
@given(JSON, st.booleans())
@search(200)
def test_a_structure_is_measured_as_it_is(value: Any, ascii_only: bool) -> None:
    raw = json.dumps([value] * 70, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = structure(raw)
    assert (found.openings, found.depth) == (openings([value] * 70), depth([value] * 70))


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"[" * 65 + b"]" * 65, "has 65 levels of objects and lists, must be at most 64"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "has 65 levels"),
        (b"[" * 100_000, "has 100000 objects and lists, must be at most 16384"),
        (b"[" + b"{}," * 70_000 + b"{}]", "has 70002 objects and lists"),
        (b"[" + b"0," * 1_100_000 + b"0]", "has 1100001 values, must be at most 1048576"),
    ],
)
def test_too_much_in_a_body_is_refused_before_it_is_parsed(raw: bytes, told: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        read(raw, ChatRequest, WIDE)
    assert f"the body is not parsed: it {told}" in str(refusal.value)


def test_brackets_and_commas_in_texts_do_not_count() -> None:
    text = '[{,"\\' * 30_000
    asked = read(chat({"role": "user", "content": text}), ChatRequest, WIDE)
    assert asked.messages[0].content == text


@pytest.mark.parametrize(
    "unit",
    [b'"', b'\\"', b'"\\', b'"",', b"[", b"]", b'{"', b'"\\\\', b"\\", b"\x00", b"\xff", b'"a":', b",", b"'", b'["\\"'],
)
@pytest.mark.parametrize("start", [b"", b'"', b"[" * 70, b"," * 5000 + b'"'])
def test_measuring_takes_a_time_linear_in_the_length(unit: bytes, start: bytes) -> None:
    def taken(size: int) -> float:
        raw, best = start + unit * (size // len(unit)), float("inf")
        for _ in range(2):
            began = time.process_time()
            structure(raw)
            best = min(best, time.process_time() - began)
        return best

    assert taken(400_000) < 0.25  # 0.1 µs a byte, ten times what it is; a square would take minutes


@pytest.mark.parametrize(
    ("model", "raw", "param", "told"),
    [
        (ChatRequest, chat({"role": "user", "content": LONG}), "messages", "messages.0.content has 1001 bytes"),
        (ChatRequest, chat({"role": "assistant", "content": LONG}), "messages", "messages.0.content has 1001 bytes"),
        (ChatRequest, chat({"role": "tool", "content": LONG}), "messages", "messages.0.content has 1001 bytes"),
        (
            ChatRequest,
            chat({"role": "user", "content": [{"type": "text", "text": "x" * 400}] * 3}),
            "messages",
            "messages.0.content has 1202 bytes",
        ),
        (ChatRequest, chat(*[{"role": "user", "content": "x" * 300}] * 4), "messages", "with messages it has 12"),
        (ChatRequest, chat(*[{"role": "user", "content": "x"}] * 101), "messages", "at least 101 tokens, one"),
        (ChatRequest, chat(*[{"role": "tool", "content": "x"}] * 101), "messages", "at least 101 tokens, one"),
        (
            ResponsesRequest, json.dumps({"input": [{"role": "user", "content": "x"}] * 101}).encode(), "input",
            "at least 101 tokens, one a message, must be at most 99",
        ),
        (ChatRequest, chat({"role": "user", "content": "é" * 501}), "messages", "has 1002 bytes, may have 1000"),
        (ResponsesRequest, json.dumps({"input": LONG}).encode(), "input", "input.0.content has 1001 bytes"),
        (ResponsesRequest, json.dumps({"input": "x", "instructions": LONG}).encode(), "instructions", "instructions"),
        (TextRequest, json.dumps({"prompt": LONG}).encode(), "prompt", "prompt has 1001 bytes"),
        (TokenizeRequest, json.dumps({"prompt": LONG}).encode(), "prompt", "prompt has 1001 bytes"),
        (TokenizeRequest, json.dumps({"content": LONG}).encode(), "content", "content has 1001 bytes"),
        (TokenizeRequest, chat({"role": "user", "content": LONG}), "messages", "messages.0.content"),
        (ChatRequest, chat(reasoning_budget_message=LONG), "reasoning_budget_message", "bytes, must be at most 1000"),
        (ChatRequest, chat(stop="x" * 1025), "stop", "stop.0 has 1025 bytes, must be at most 1024"),
        (ChatRequest, chat(stop=["a", "x" * 1025]), "stop", "stop.1 has 1025 bytes, must be at most 1024"),
        (OllamaChatRequest, chat(options={"stop": ["x" * 1025]}), "options",
         "options.stop.0 has 1025 bytes, must be at most 1024"),
        (ChatRequest, chat(model="x" * 1025), "model", "model has 1025 bytes, must be at most 1024"),
    ],
)  # fmt: skip
def test_every_text_is_bounded_and_the_field_at_fault_is_named(
    model: type[Any], raw: bytes, param: str, told: str
) -> None:
    with pytest.raises(BadRequest) as refusal:
        read(raw, model, BOUNDS)
    assert refusal.value.param == param
    assert told in str(refusal.value)


def test_messages_that_a_template_may_drop_are_not_counted() -> None:
    silent = [{"role": "assistant", "content": "x"}, {"role": "user", "content": " "}] * 60
    assert len(read(chat(*silent), ChatRequest, BOUNDS).messages) == 120


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'{"messages": "\xe4"}', "it must be UTF-8, and byte 14 is not"),
        ('{"messages": []}'.encode("utf-16"), "it must be UTF-8"),
        (b'{"seed": 1' + b"0" * 5000 + b"}", "Exceeds the limit"),
        (b'{"messages": [}', "at character 14"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(raw: bytes, told: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        read(raw, ChatRequest, WIDE)
    assert str(refusal.value).startswith("the body is not JSON: ")
    assert told in str(refusal.value)


def test_a_mark_of_the_byte_order_is_skipped() -> None:
    assert read(b"\xef\xbb\xbf" + chat(), ChatRequest, WIDE).messages[0].content == "x"


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, "\n" * 1000, b"x" * 1000, [["x" * 1000] * 1000] * 1000, {"a" * 1000: "b" * 1000}, 10**4000,
     -(10**400), [1] * 10**6, {str(number): number for number in range(10_000)}, "\ud800" * 1000, 1e308],
)  # fmt: skip
def test_errors_repeat_at_most_80_characters_of_a_value(value: object) -> None:
    assert len(shown(value)) <= 81


@pytest.mark.parametrize(
    "error",
    [
        BadRequest("a", param="b", code=ErrorCode.JSON),
        ContextTooLong("a", param=None),
        TooLarge(7),
        Busy("a", 1.5),
    ],
)
def test_errors_come_from_another_process_as_they_are(error: ApiError) -> None:
    came = pickle.loads(pickle.dumps(error))
    assert type(came) is type(error)
    assert (str(came), came.status, came.headers, came.param, came.code) == (
        str(error), error.status, error.headers, error.param, error.code,
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, PIECE, PIECE + 1, 5 * PIECE + 7])
def test_a_request_comes_whole_from_its_pieces(count: int) -> None:
    raw = chat(*[{"role": "user", "content": str(number)} for number in range(count)], max_tokens=7)
    asked = read(raw, ChatRequest, WIDE)
    first, *others = pieces(asked)
    assembly = Assembly(first)
    for piece in others:
        assembly.add(piece)
    assert assembly.whole() == asked


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (DetokenizeRequest, {"tokens": ["x"] * 100_000}),
        (ChatRequest, {"messages": [{"role": "nobody"}] * 1000}),
        (ResponsesRequest, {"input": [{"role": "nobody"}] * 1000}),
        (TokenizeRequest, {"messages": [{"role": "nobody"}] * 1000}),
    ],
)
def test_one_error_of_a_long_list_is_enough(model: type[Any], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refusal:
        model.model_validate(body)
    assert refusal.value.error_count() <= 3  # of one entry, and that the rest is not there


@pytest.mark.parametrize("kind", ["text/json", "", "text/plain"])
def test_a_content_type_that_is_not_taken_is_told(kind: str) -> None:
    assert "must be 'application/json'" in str(no_object(kind))


def test_a_long_list_of_numbers_is_read() -> None:
    raw = json.dumps({"tokens": [5] * 20_000}).encode()
    assert len(read(raw, DetokenizeRequest, WIDE).tokens) == 20_000


def test_a_text_to_be_tokens_may_be_longer_than_the_context_and_is_bounded_all_the_same() -> None:
    read(json.dumps({"prompt": "x" * 1_062_500}).encode(), TokenizeRequest, TOLD_BOUNDS)
    with pytest.raises(BadRequest, match="content has 2097153 bytes, must be at most 2097152") as refusal:
        read(json.dumps({"content": "x" * 2_097_153}).encode(), TokenizeRequest, TOLD_BOUNDS)
    assert refusal.value.param == "content"
