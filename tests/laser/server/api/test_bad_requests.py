"""Every wrong request gets a clear error in OpenAI's shape, and the server goes on serving."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from laser.server.api.chat import ChatRequest
from tests.support.live_server import WAIT_S, LiveServer, chat

IMAGE = [{"type": "image_url", "image_url": {"url": "data:,"}}]

INTEGERS = [
    "max_tokens", "max_completion_tokens", "seed", "top_k", "n", "temperature", "top_p", "laser.deadline_ms",
    "min_p", "presence_penalty", "min_tokens", "top_logprobs", "laser.threshold", "laser.budget",
    "thinking_token_budget", "reasoning_budget_tokens", "thinking_budget_tokens", "reasoning_budget", "thinking_budget",
    "reasoning.max_tokens", "thinking.budget_tokens",
]  # fmt: skip


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


@pytest.fixture(autouse=True)
def _still_serving(server: LiveServer) -> Iterator[None]:
    yield
    assert server.post(max_tokens=4).status_code == 200
    server.wait_for_load(running=0, waiting=0, cells_reserved=0)


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"max_tokens": 0}, "max_tokens", "is 0, must be at least 1"),
        ({"max_tokens": -5}, "max_tokens", "is -5, must be at least 1"),
        ({"max_tokens": "many"}, "max_tokens", "'many'"),
        ({"max_tokens": 1.5}, "max_tokens", "is 1.5"),
        ({"max_completion_tokens": 0}, "max_completion_tokens", "is 0, must be at least 1"),
        ({"temperature": -0.1}, "temperature", "is -0.1, must be at least 0"),
        ({"temperature": 2.5}, "temperature", "is 2.5, must be at most 2"),
        ({"top_p": 0}, "top_p", "is 0, must be above 0"),
        ({"top_p": 1.1}, "top_p", "is 1.1, must be at most 1"),
        ({"top_k": -2}, "top_k", "is -2, must be at least -1"),
        ({"seed": "x"}, "seed", "'x'"),
        ({"n": 0}, "n", "is 0, must be at least 1"),
        ({"n": 129}, "n", "is 129, must be at most 128"),
        ({"n": 100}, "n", "is 100, must be at most 32: so many replies are decoded at once"),
        ({"min_p": 2}, "min_p", "is 2, must be at most 1"),
        ({"presence_penalty": -3}, "presence_penalty", "is -3, must be at least -2"),
        ({"frequency_penalty": 2.5}, "frequency_penalty", "is 2.5, must be at most 2"),
        ({"repetition_penalty": 0}, "repetition_penalty", "is 0, must be above 0"),
        ({"logit_bias": {"7": 200}}, "logit_bias", "of token 7 is 200, must lie in -100…100"),
        ({"logit_bias": {"seven": 1}}, "logit_bias", "has the key 'seven', must be a token id"),
        ({"logit_bias": {"999999": 1}}, "logit_bias", "has token 999999, must lie in 0…"),
        ({"logit_bias": [1]}, "logit_bias", "must be an object of biases by token id"),
        ({"stop_token_ids": 7}, "stop_token_ids", "is 7, must be a list of at most 64 token ids"),
        ({"stop_token_ids": [-1]}, "stop_token_ids", "has -1, must be token ids"),
        ({"stop_token_ids": [999999]}, "stop_token_ids", "has token 999999, must lie in 0…"),
        ({"stop_token_ids": list(range(65))}, "stop_token_ids", "has 65 tokens, must have at most 64"),
        ({"min_tokens": -1}, "min_tokens", "is -1, must be at least 0"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens", "is 9, must be at most 8"),
        ({"logprobs": 1}, "logprobs", "is 1"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "is 21, must be at most 20"),
        ({"top_logprobs": 2}, "top_logprobs", "is 2, must be 0 or left out unless logprobs is true"),
        ({"laser": {"threshold": 0}}, "laser.threshold", "is 0, must be above 0"),
        ({"laser": {"budget": -1}}, "laser.budget", "is -1, must be at least 0"),
        ({"laser": {"budget": 9}, "think": False}, "laser.budget", "is 9, but another field turns the thought off"),
        ({"laser": {"budget": 9}, "thinking_budget": 8}, "laser.budget", "another field's budget is 8"),
        ({"laser": {"threshold": 0.99, "early_exit": False}}, "laser.threshold", "must be left out"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "has 5 texts, must be at most 4"),
        ({"stop": [""]}, "stop", "empty text"),
        ({"stop": 7}, "stop", "must be a text or a list"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort", "'extreme', must be one of 'none'"),
        ({"thinking_token_budget": -2}, "thinking_token_budget", "is -2, must be at least -1"),
        ({"laser": {"difficulty": "huge"}}, "laser.difficulty", "is 'huge', must be one of 'easy', 'medium', 'hard'"),
        ({"laser": {"difficulty": 3}}, "laser.difficulty", "is 3, must be one of 'easy'"),
        ({"laser": {"difficulty": []}}, "laser.difficulty", "is [], must be one of 'easy'"),
        ({"laser": {"dificulty": "easy"}}, "laser.dificulty", "is 'easy': there is no such field; did you mean diffic"),
        ({"laser": {"mode": 1}}, "laser.mode", "is 1: there is no such field; must be one of difficulty, answer, "),
        ({"laser": "easy"}, "laser", "'easy'"),
        ({"stream": "perhaps"}, "stream", "'perhaps'"),
        ({"messages": []}, "messages", "has 0 entries"),
        ({"messages": None}, "messages", "None"),
        ({"messages": "hello"}, "messages", "'hello'"),
        ({"messages": [{"content": "x"}]}, "messages.0.role", "is missing"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role", "'robot', must be one of"),
        ({"messages": user(IMAGE)}, "messages.0.content", "part 0 is of type 'image_url', must be 'text'"),
        ({"messages": user([{"type": "text"}])}, "messages.0.content", "part 0"),
        ({"messages": user([7])}, "messages.0.content", "part 0 is of type 'int'"),
        ({"messages": user(7)}, "messages.0.content", "is int"),
        ({"messages": user(None)}, "messages.0.content", "is null, must be a text"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs", "[]"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_wrong_value_is_named_with_its_limit(
    server: LiveServer, body: dict[str, Any], param: str, told: str, stream: bool
) -> None:
    response = server.post(**{"stream": stream, **body})
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"].startswith(param)
    assert told in error["message"]


def test_a_reply_longer_than_the_context_is_refused_by_name(server: LiveServer) -> None:
    response = server.post(max_tokens=10**30)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "max_tokens")
    assert f"max_tokens is {10**30}, must be at most" in error["message"]


def test_a_prompt_longer_than_the_context_is_refused_by_name(server: LiveServer) -> None:
    response = server.post(messages=user("0 " * 70_000))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    assert "must be at most" in error["message"]


def test_a_prompt_that_is_certainly_too_long_is_refused_unread(server: LiveServer) -> None:
    response = server.post(messages=user("0 " * 2_000_000))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    assert error["message"].startswith("the prompt has at least ")


def test_a_chat_that_fits_without_what_its_template_drops_is_answered(server: LiveServer) -> None:
    thought = "0 " * 30_000  # more tokens than the context has; twice, more bytes than a prompt may have
    before = {"role": "assistant", "content": "7", "reasoning": thought, "reasoning_content": thought}
    answer = server.post(messages=[*user("x"), before, *user("y")], max_tokens=4)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_minus_one_is_none(server: LiveServer, field: str) -> None:
    assert ChatRequest.model_validate({"messages": user("x"), field: -1}).limit is None
    assert server.post(**{field: -1, "laser": {"deadline_ms": 1000}}).status_code == 200


def test_a_seed_of_minus_one_is_a_random_one(server: LiveServer) -> None:
    body = {"seed": -1, "temperature": 2.0, "max_tokens": 40}
    said = {server.post(**body).json()["choices"][0]["message"]["content"] for _ in range(4)}
    assert len(said) > 1


@pytest.mark.parametrize("field", INTEGERS)
@pytest.mark.parametrize("value", [10**400, -(10**400), 10**18], ids=["huge", "minus-huge", "int64"])
def test_no_integer_is_too_large_to_be_refused(server: LiveServer, field: str, value: int) -> None:
    path = field.split(".")
    response = server.post(**{path[0]: {path[1]: value} if path[1:] else value, "stream": False})
    assert response.status_code in {200, 400}
    if response.status_code == 400:
        assert field in response.json()["error"]["message"]


def test_a_deadline_is_at_most_a_day(server: LiveServer) -> None:
    error = server.post(laser={"deadline_ms": 86_400_001}).json()["error"]
    assert error["message"] == "laser.deadline_ms is 86400001, must be at most 86400000"


def test_the_longest_reply_that_fits_is_not_refused(server: LiveServer) -> None:
    room = httpx.get(f"{server.url}/v1/models", trust_env=False).json()["data"][0]["max_model_len"]
    prompt = server.post(max_tokens=200).json()["usage"]["prompt_tokens"]
    refused = server.post(max_tokens=room - prompt + 1)
    assert f"must be at most {room - prompt}" in refused.json()["error"]["message"]
    url, body = f"{server.url}/v1/chat/completions", chat(max_tokens=room - prompt, stream=True)
    with httpx.stream("POST", url, json=body, trust_env=False, timeout=WAIT_S) as response:
        assert response.status_code == 200


def test_an_unknown_model_is_not_found_and_the_known_one_is_named(server: LiveServer) -> None:
    response = server.post(model="gpt-7")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "'gpt-7'" in error["message"]
    assert "'little'" in error["message"]
    assert httpx.get(f"{server.url}/v1/models/gpt-7", trust_env=False).json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "is not JSON"),
        (b"", "must be a JSON object"),
        (b"[]", "must be a JSON object"),
        (b"7", "must be a JSON object"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 100_000, "pars"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "content: has half a character at position 0"),
        (b'{"messages": [{"role": "\\ud800", "content": "x"}]}', "messages.0.role is '\\ud800'"),
        (b'{"messages": [{"role": "user", "content": "x"}], "stop": "x\\udfff"}', "stop: has half a character"),
        (b'{"messages": [{"role": "user", "content": "x"}], "model": "\\ud800"}', "model"),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', "temperature is nan"),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}', "temperature is inf"),
    ],
)
def test_a_body_that_cannot_be_read_is_told_so(server: LiveServer, content: bytes, told: str) -> None:
    url, headers = f"{server.url}/v1/chat/completions", {"content-type": "application/json"}
    response = httpx.post(url, content=content, headers=headers, trust_env=False)
    assert response.status_code == (404 if b"model" in content else 400)
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert told in response.json()["error"]["message"]


def test_a_body_of_another_type_is_refused_by_name(server: LiveServer) -> None:
    url, headers = f"{server.url}/v1/chat/completions", {"content-type": "text/plain"}
    response = httpx.post(url, content=b'{"messages": []}', headers=headers, trust_env=False)
    assert response.status_code == 400
    assert "Content-Type is 'text/plain', must be 'application/json'" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/health", 405),
    ],
)
def test_a_wrong_path_or_method_is_told_in_the_same_shape(
    server: LiveServer, method: str, path: str, status: int
) -> None:
    response = httpx.request(method, f"{server.url}{path}", trust_env=False)
    assert response.status_code == status
    assert path in response.json()["error"]["message"]


def test_the_sdk_raises_its_own_errors(server: LiveServer) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError, match="must be at least 1"):
            client.chat.completions.create(model="little", messages=user("x"), max_tokens=0)
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.chat.completions.create(model="other", messages=user("x"))
