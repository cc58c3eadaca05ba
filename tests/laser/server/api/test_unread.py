"""No request field is dropped in silence: it is read, refused by name, without effect, or told to be ignored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from laser.server.api.chat import ChatRequest
from laser.server.api.dialects import (
    CHAT,
    COMPLETIONS,
    REPLIES,
    RESPONSES,
    Indifferent,
    Read,
    Refused,
    Treatment,
)
from laser.server.api.errors import validation_error
from laser.server.api.reports import DetokenizeRequest, TokenizeRequest
from laser.server.api.unread import LEAST, MOST, one_slip, slip_of
from laser.server.telemetry.ignored import HEADER
from tests.support.live_server import WAIT_S, LiveServer
from tests.support.request_fields import BODIES, CLIENTS, HELLO

MINIMAL: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HELLO},
    COMPLETIONS: {"prompt": "a"},
    RESPONSES: {"input": "a"},
}
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "responses": "/v1/responses"}


def known(endpoint: str) -> Mapping[str, Treatment]:
    return BODIES[endpoint].known()


def refusal(endpoint: str, **body: Any) -> tuple[str | None, str] | None:
    """The field that a request is refused for, and the message; None: it is taken."""
    try:
        BODIES[endpoint].model_validate({**MINIMAL[endpoint], **body})
    except ValidationError as error:
        problem = validation_error(error.errors(), content_type="application/json")
        return problem.param, str(problem)
    return None


# --- what is refused, and what is harmless


def refused() -> Iterator[tuple[str, str, Refused]]:
    for endpoint in REPLIES:
        for name, treatment in known(endpoint).items():
            if isinstance(treatment, Refused):
                yield endpoint, name, treatment


@pytest.mark.parametrize(
    ("endpoint", "name", "treatment"), list(refused()), ids=lambda each: each if isinstance(each, str) else ""
)
def test_a_field_that_changes_the_reply_is_refused_by_name_unless_it_has_a_usual_value(
    endpoint: str, name: str, treatment: Refused
) -> None:
    for value in (None, *treatment.usual):
        assert refusal(endpoint, **{name: value}) is None, value
    for value in ({"odd": 1}, "odd", 7, [[]]):
        told = refusal(endpoint, **{name: value})
        assert told is not None
        assert told[0] == name
        assert told[1].startswith(f"{name} is ")
        assert "must be left out, null" in told[1]


@pytest.mark.parametrize("endpoint", REPLIES)
def test_fields_without_effect_may_have_any_value(endpoint: str) -> None:
    for name, treatment in known(endpoint).items():
        if isinstance(treatment, Indifferent):
            for value in (None, {"odd": 1}, "odd", 7, [[]], True):
                body = BODIES[endpoint].model_validate({**MINIMAL[endpoint], name: value})
                asked_for = treatment is Indifferent.TOLD and value is not None
                assert body.unread == ((name,) if asked_for else ()), (name, value)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "custom": {}, "function": {"name": "f"}}]}]},
            "messages.0.tool_calls.0.custom",
        ),
        ({"messages": [{"role": "assistant", "content": "x", "audio": {"id": "a"}}]}, "messages.0.audio"),
        ({"messages": [{"role": "assistant", "content": "x", "prefix": True}]}, "messages.0.prefix"),
        ({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, "messages.0.images"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "image_url": "y"}]}]},
            "messages.0.content.0.image_url",
        ),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"thinking": {"type": "enabled", "clear_thinking": False}}, "thinking.clear_thinking"),
    ],
)
def test_what_is_inside_a_field_is_refused_by_name_too(body: dict[str, Any], param: str) -> None:
    told = refusal(CHAT, **body)
    assert told is not None
    assert told[0] == param
    assert told[1].startswith(f"{param} is ")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text": {"format": {"type": "grammar", "schema": {}}}}, "text.format.type"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"truncation": "auto"}, "truncation"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"include": ["file_search_call.results"]}, "include"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"input": [*HELLO, {"type": "item_reference", "id": "msg_1"}, *HELLO]}, "input"),
        ({"input": [*HELLO, {"type": "web_search_call", "id": "1"}]}, "input"),
    ],
)  # fmt: skip
def test_responses_refuse_by_name_what_is_not_done_or_not_stored(body: dict[str, Any], param: str) -> None:
    told = refusal(RESPONSES, **body)
    assert told is not None
    assert told[0] == param


def test_a_reference_to_a_stored_item_is_refused_by_its_place(server: LiveServer) -> None:
    items = [*HELLO, {"type": "item_reference", "id": "msg_never_was"}, *HELLO]
    response = httpx.post(f"{server.url}/v1/responses", json={"input": items}, trust_env=False, timeout=WAIT_S)
    assert response.status_code == 400
    assert "item 1 is an item_reference: nothing is stored here, send the whole" in response.json()["error"]["message"]


def test_a_service_tier_that_nobody_has_is_refused() -> None:
    told = refusal(CHAT, service_tier="urgent")
    assert told is not None
    assert told[0] == "service_tier"
    assert all(refusal(CHAT, service_tier=tier) is None for tier in ("auto", "default", "flex", "scale", "priority"))


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("use_beam_search", False, True),
        ("use_beam_search", 0, False),
        ("typical_p", 1.0, True),
        ("typical_p", True, False),
        ("best_of", 1, True),
    ],
)
def test_a_usual_value_is_the_same_json(name: str, value: object, taken: bool) -> None:
    assert (refusal(CHAT, **{name: value}) is None) is taken


def test_a_number_beside_a_prompt_shapes_no_tokens_but_tools_do() -> None:
    body = {**MINIMAL[CHAT], "temperature": 1.0, "logprobs": True, "model": "x", "stream": True}
    assert TokenizeRequest.model_validate(body).unread == ()
    for name in ("tools", "documents", "chat_template_kwargs"):
        with pytest.raises(ValidationError, match="not done here"):
            TokenizeRequest.model_validate({**body, name: [{"a": 1}]})
    assert DetokenizeRequest.model_validate({"tokens": [1], "tools": [1]}).unread == ()


@pytest.mark.parametrize("endpoint", REPLIES)
def test_openapi_tells_which_values_of_refused_fields_are_taken(endpoint: str) -> None:
    told = BODIES[endpoint].model_json_schema()["properties"]
    for each, name, treatment in refused():
        if each == endpoint:
            assert told[name]["enum"] == [None, *treatment.usual]


# --- slips, and names that nobody knows


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("temprature", "temperature"),
        ("temperatrue", "temperature"),
        ("Temperature", "temperature"),
        ("max_token", "max_tokens"),
        ("max-tokens", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("stopp", "stop"),
        ("mesages", "messages"),
        ("tool", "tools"),
        ("response_fromat", "response_format"),
        ("thinking_buget", "thinking_budget"),
        ("top_pp", "top_p"),
    ],
)
def test_a_name_one_slip_away_is_refused_with_the_one_that_is_meant(slip: str, meant: str) -> None:
    told = refusal(CHAT, **{slip: 1})
    assert told == (slip, f"{slip} is 1: there is no such field; did you mean {meant}?")


@pytest.mark.parametrize(
    ("body", "param", "meant"),
    [
        ({"stream_options": {"include_usge": True}}, "stream_options.include_usge", "include_usage"),
        ({"reasoning": {"efort": "low"}}, "reasoning.efort", "effort"),
        ({"laser": {"probs": True}}, "laser.probs", "probes"),
        ({"messages": [{"role": "user", "content": "x", "contents": "y"}]}, "messages.0.contents", "content"),
    ],
)
def test_a_slip_inside_a_field_is_refused_too(body: dict[str, Any], param: str, meant: str) -> None:
    told = refusal(CHAT, **body)
    assert told is not None
    assert told[0] == param
    assert told[1].endswith(f"did you mean {meant}?")


names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=LEAST, max_size=24)


@given(
    name=names,
    at=st.integers(0, 23),
    letter=st.sampled_from("qxz_"),
    how=st.sampled_from(["add", "drop", "put", "swap"]),
)
def test_every_slip_of_a_name_is_found(name: str, at: int, letter: str, how: str) -> None:
    at %= len(name)
    changed = {
        "add": name[:at] + letter + name[at:],
        "drop": name[:at] + name[at + 1 :],
        "put": name[:at] + letter + name[at + 1 :],
        "swap": name[:at] + name[at : at + 2][::-1] + name[at + 2 :],
    }[how]
    assert one_slip(changed, name)
    assert one_slip(name, changed)
    if len(changed) >= LEAST and changed != name:
        assert slip_of(changed, {name: Read.READ}) == name


@given(name=names, other=names)
def test_a_name_further_away_is_no_slip(name: str, other: str) -> None:
    assert not one_slip(f"{name}qq", name)
    assert not one_slip(name, f"qx{other}zq") or abs(len(name) - len(other) - 4) <= 1


def test_no_known_name_is_a_slip_of_another_that_is_known() -> None:
    for endpoint in REPLIES:
        for name in known(endpoint):
            told = refusal(endpoint, **{name: None})
            assert told is None or "did you mean" not in told[1]


def test_short_and_far_names_are_ignored_and_kept() -> None:
    body = ChatRequest.model_validate({**MINIMAL[CHAT], "m": 1, "x": 2, "my_own_field": 3, "reasoning": {"other": 4}})
    assert body.unread == ("m", "x", "my_own_field", "reasoning.other")


def test_a_name_of_whoever_speaks_is_named_as_ignored() -> None:
    """AutoGen sends one with every message."""
    said = {"role": "user", "content": "x", "name": "ann"}
    assert ChatRequest.model_validate({"messages": [said, said]}).unread == ("messages.name",)
    assert BODIES[RESPONSES].model_validate({"input": [said]}).unread == ("input.name",)


def test_the_name_that_is_too_many_is_told_whole() -> None:
    told = refusal(CHAT, **{f"nobody_knows_{number:03}_this": 1 for number in range(MOST + 1)})
    assert told is not None
    assert told[0] == f"nobody_knows_{MOST:03}_this"


def test_a_name_in_every_message_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("laser.server.api.unread.slip_of", lambda name, known: asked.append(name))
    messages = [{"role": "user", "content": "x", "of_nobody": number} for number in range(50)]
    assert ChatRequest.model_validate({"messages": messages}).unread == ("messages.of_nobody",)
    assert asked == ["of_nobody"]


def test_too_many_names_that_no_api_knows_are_refused_quickly() -> None:
    many = {f"temperature{'x' * (number % 7)}y{number}": 1 for number in range(100_000)}
    began = time.process_time()
    told = refusal(CHAT, **many)
    assert time.process_time() - began < 0.5  # some 20 ms; edit distances to every known name would take minutes
    assert told is not None
    assert f"must be at most {MOST}" in told[1]
    assert len(told[1]) < 200


def test_a_name_of_a_megabyte_is_not_echoed(server: LiveServer) -> None:
    reply = server.post(max_tokens=4, **{"é" * 1_000_000: 1, "a,b\r\nx: y": 2})
    assert reply.status_code == 200
    assert reply.headers[HEADER] == f"{'%C3%A9' * 64}..., a%2Cb%0D%0Ax%3A%20y"


def test_a_reply_names_what_was_ignored_whole_and_streamed(server: LiveServer) -> None:
    asked = {"my_own": 1, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    for stream in (False, True):
        reply = server.post(max_tokens=4, stream=stream, **asked)
        assert reply.headers[HEADER] == "my_own, stream_options.continuous_usage_stats"
    assert HEADER not in server.post(max_tokens=4).headers
    for path, body in (("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [1]})):
        told = httpx.post(f"{server.url}{path}", json={**body, "my_own": 1}, trust_env=False, timeout=WAIT_S)
        assert (told.status_code, told.headers[HEADER]) == (200, "my_own")


# --- clients


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_gets_an_error_for_its_defaults(server: LiveServer, client: str) -> None:
    endpoint, body = CLIENTS[client]
    limit = {} if body.keys() & {"max_completion_tokens", "max_output_tokens"} else {"max_tokens": 4}
    limit = {"max_output_tokens": 4} if endpoint == RESPONSES else limit
    reply = httpx.post(server.url + PATHS[endpoint], json={**body, **limit}, trust_env=False, timeout=WAIT_S)
    assert reply.status_code == 200, reply.text
