"""What a client sees of a reply: whole, streamed, seeded, stopped."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import openai
import pytest

from tests.support.live_server import ENDLESS, WAIT_S, LiveServer, chat

QUESTION = [{"role": "user", "content": "What is 12 + 30?"}]


def sdk(server: LiveServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=WAIT_S)


def stream(server: LiveServer, **body: Any) -> list[str]:
    """A stream's lines, the empty ones left out."""
    url = f"{server.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=chat(stream=True, **body), trust_env=False, timeout=WAIT_S) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        return [line for line in response.iter_lines() if line]


def chunks(lines: list[str]) -> list[dict[str, Any]]:
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1] if line.startswith("data: ")]


def joined(parts: list[dict[str, Any]], field: str) -> str:
    return "".join(part["choices"][0]["delta"].get(field, "") for part in parts if part["choices"])


def test_a_confident_thought_is_closed_and_the_reply_says_why(confident: LiveServer) -> None:
    reply = confident.post(max_tokens=400).json()
    message, laser, usage = reply["choices"][0]["message"], reply["laser"], reply["usage"]
    assert message["role"] == "assistant"
    assert message["content"] == "**Final Answer**\n\\boxed{7}"
    assert message["reasoning"].startswith("the\n\n the")
    assert message["reasoning_content"] == message["reasoning"]
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert laser["exit_reason"] == "confidence"
    assert laser["confidence"] == pytest.approx(0.97, abs=1e-4)
    assert laser["threshold"] == 0.9
    assert laser["probes"] == 1
    assert laser["probe_tokens"] == 0  # the one probe has become part of the reply
    assert laser["queue_ms"] >= 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    details = usage["completion_tokens_details"]
    assert details == {"reasoning_tokens": laser["reasoning_tokens"], "probe_tokens": laser["probe_tokens"]}
    assert 0 < details["reasoning_tokens"] < usage["completion_tokens"] <= 400


def test_a_stream_comes_in_the_order_that_clients_expect(confident: LiveServer) -> None:
    parts = chunks(stream(confident, max_tokens=400, stream_options={"include_usage": True}))
    first, *middle, finish, usage = parts
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    kinds = ["reasoning" if "reasoning" in part["choices"][0]["delta"] else "content" for part in middle]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"reasoning", "content"}
    assert joined(middle, "reasoning") == joined(middle, "reasoning_content")
    assert finish["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert finish["laser"]["exit_reason"] == "confidence"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert all(part["usage"] is None for part in parts[:-1])
    assert len({part["id"] for part in parts}) == 1


def test_a_stream_has_no_usage_unless_asked_for(confident: LiveServer) -> None:
    parts = chunks(stream(confident))
    assert all("usage" not in part and part["choices"] for part in parts)


@pytest.mark.parametrize("max_tokens", [48, 400])
def test_a_stream_and_a_whole_reply_say_the_same(server: LiveServer, max_tokens: int) -> None:
    body = {"temperature": 0.8, "seed": 5, "max_tokens": max_tokens}
    parts = chunks(stream(server, **body))
    message = server.post(**body).json()["choices"][0]["message"]
    assert joined(parts, "content") == message["content"]
    assert joined(parts, "reasoning") == message["reasoning"]


def test_the_sdk_reads_thought_answer_and_usage_of_a_stream(confident: LiveServer) -> None:
    thought, answer, usage, laser = "", "", None, None
    with sdk(confident) as client:
        events = client.chat.completions.create(
            model="confident", messages=QUESTION, max_tokens=400, stream=True, stream_options={"include_usage": True}
        )
        for event in events:
            usage = event.usage or usage
            for choice in event.choices:
                thought += getattr(choice.delta, "reasoning_content", None) or ""
                answer += choice.delta.content or ""
                laser = getattr(event, "laser", None) or laser
    assert thought
    assert "\\boxed{7}" in answer
    assert usage is not None
    assert usage.completion_tokens_details.reasoning_tokens > 0
    assert laser is not None
    assert laser["exit_reason"] == "confidence"


@pytest.mark.slow
def test_32_clients_at_once_all_complete(server: LiveServer) -> None:
    async def ask_all() -> list[Any]:
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=60.0
        ) as client:
            return await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model="little",
                        messages=[{"role": "user", "content": f"What is {number} + 5?"}],
                        max_tokens=160,
                        temperature=0.7,
                        seed=number,
                    )
                    for number in range(32)
                )
            )

    replies = asyncio.run(ask_all())
    assert all(reply.choices[0].message.content for reply in replies)
    assert all(0 < reply.usage.completion_tokens <= 160 for reply in replies)
    server.wait_for_load(running=0, waiting=0, cells_reserved=0)


def test_a_reply_alone_and_one_in_a_crowd_are_the_same(server: LiveServer) -> None:
    body = {"temperature": 0.9, "seed": 11, "max_tokens": 120}
    alone = server.post(**body).json()["choices"][0]["message"]
    crowd = [threading.Thread(target=server.post, kwargs={"seed": n, "temperature": 1.0}) for n in range(6)]
    for each in crowd:
        each.start()
    together = server.post(**body).json()["choices"][0]["message"]
    for each in crowd:
        each.join()
    assert together == alone


@pytest.mark.slow
def test_a_seed_reproduces_and_another_one_differs(server: LiveServer) -> None:
    def text(**body: Any) -> str:
        message = server.post(temperature=2.0, max_tokens=120, **body).json()["choices"][0]["message"]
        return str(message["reasoning"] + message["content"])

    assert text(seed=1) == text(seed=1)
    assert len({text(seed=seed) for seed in range(8)}) > 1
    assert len({text() for _ in range(8)}) > 1
    assert text(seed=-(10**30)) == text(seed=-(10**30))


@pytest.mark.slow
def test_no_answer_is_empty_however_short(server: LiveServer) -> None:
    for max_tokens in range(1, 41):
        reply = server.post(max_tokens=max_tokens).json()
        assert reply["choices"][0]["message"]["content"], f"empty at max_tokens {max_tokens}"
        assert reply["usage"]["completion_tokens"] <= max_tokens


def test_a_stop_string_ends_the_answer_and_never_the_thought(confident: LiveServer) -> None:
    reply = confident.post(max_tokens=400, stop=[" the", "7"]).json()
    choice = reply["choices"][0]
    assert choice["message"]["reasoning"].startswith("the\n\n the\n\n the")
    assert choice["message"]["content"] == "**Final Answer**\n\\boxed{"
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("off", [{"reasoning_effort": "none"}, {"chat_template_kwargs": {"enable_thinking": False}}])
def test_thinking_can_be_switched_off(confident: LiveServer, off: dict[str, Any]) -> None:
    reply = confident.post(**off).json()
    assert reply["choices"][0]["message"]["reasoning"] is None
    assert reply["choices"][0]["message"]["reasoning_content"] is None
    assert reply["choices"][0]["message"]["content"].startswith("the")
    assert reply["laser"]["exit_reason"] is None
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["thinking_token_budget", "reasoning_budget", "thinking_budget"])
def test_a_client_s_thinking_budget_holds(confident: LiveServer, name: str) -> None:
    reply = confident.post(max_tokens=300, **{name: 6}).json()
    assert reply["laser"]["exit_reason"] == "budget"
    assert reply["laser"]["budget"] == 6
    assert reply["laser"]["probes"] == 0
    assert reply["choices"][0]["message"]["content"]


def test_a_thinking_budget_of_minus_one_leaves_the_server_s(confident: LiveServer) -> None:
    assert confident.post(max_tokens=400, thinking_budget=-1).json()["laser"]["exit_reason"] == "confidence"


def test_thoughts_can_be_left_out_of_the_reply(confident: LiveServer) -> None:
    hidden = {"max_tokens": 400, "include_reasoning": False}
    reply = confident.post(**hidden).json()
    assert reply["choices"][0]["message"]["reasoning"] is None
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    parts = chunks(stream(confident, **hidden))
    assert not joined(parts, "reasoning")
    assert "\\boxed{7}" in joined(parts, "content")


def test_fields_that_change_nothing_are_ignored_and_those_that_nobody_knows_are_told(server: LiveServer) -> None:
    odd = {"ignore_eos": False, "my_own_field": {}, "user": "x", "temperature": None, "stop": None, "n": None}
    reply = server.post(**odd)
    assert reply.status_code == 200
    assert reply.headers["x-laser-ignored"] == "my_own_field"


@pytest.mark.parametrize("stated", ["easy", "medium", "hard"])
def test_a_stated_difficulty_is_taken_and_told(server: LiveServer, stated: str) -> None:
    reply = server.post(laser={"difficulty": stated}).json()
    assert reply["laser"]["difficulty"] == stated


def test_a_difficulty_that_is_not_stated_is_told_from_the_prompt(server: LiveServer) -> None:
    short = [{"role": "user", "content": "What is the largest number in the list 3, 99, 12, 40?"}]
    listed = ", ".join(f"{label} {20 + 3 * n} + {31 + 2 * n}" for n, label in enumerate("ABCDEFGHIJKLMNO"))
    told = f"A ticket is red if the tens digit of its sum is even, else blue. Tickets: {listed}."
    long = [{"role": "user", "content": f"{told} Are more tickets red or blue?"}]
    found = [server.post(messages=messages, max_tokens=8).json()["laser"]["difficulty"] for messages in (short, long)]
    assert found == ["easy", "hard"]


def test_content_may_be_a_list_of_text_parts(server: LiveServer) -> None:
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "2 + 2?"}]
    listed = server.post(messages=[{"role": "user", "content": parts}], max_tokens=8)
    plain = server.post(messages=[{"role": "user", "content": "What is\n2 + 2?"}], max_tokens=8)
    assert listed.json()["choices"] == plain.json()["choices"]


@pytest.mark.slow
def test_any_script_is_read_and_written_whole(server: LiveServer) -> None:
    question = [
        {"role": "system", "content": "Ты помощник."},
        {"role": "user", "content": "¿Qué es 「二」＋ 👩‍👩‍👧‍👦 \u0000 𝔘?"},
        {"role": "assistant", "content": "שלום"},
        {"role": "developer", "content": "नमस्ते"},
        {"role": "user", "content": "e\u0301"},
    ]
    body = {"messages": question, "temperature": 1.5, "seed": 3, "max_tokens": 200}
    whole = server.post(**body)
    assert whole.status_code == 200
    assert joined(chunks(stream(server, **body)), "content") == whole.json()["choices"][0]["message"]["content"]


def test_a_silent_stream_is_kept_alive_by_comments(narrow: LiveServer) -> None:
    url = f"{narrow.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=chat(stream=True, max_tokens=ENDLESS), trust_env=False, timeout=WAIT_S):
        narrow.wait_for_load(running=1)
        waiting = httpx.stream("POST", url, json=chat(stream=True, max_tokens=ENDLESS), trust_env=False, timeout=WAIT_S)
        with waiting as response:
            lines = (line for line in response.iter_lines() if line)
            assert json.loads(next(lines).removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
            assert {next(lines).partition(",")[0] for _ in range(6)} <= {": ping", ": queue position 1"}
    narrow.wait_for_load(running=0, waiting=0)


def test_models_and_health_tell_what_is_served(server: LiveServer) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.get("/health").json() == {
            "status": "ok",
            "model": "little",
            "loading": None,
            "loaded": None,
            "restarts": 0,
            "trouble": None,
        }
        (card,) = client.get("/v1/models").json()["data"]
        assert client.get("/v1/models/little").json() == card
    assert (card["id"], card["object"], card["max_model_len"] > 100) == ("little", "model", True)
