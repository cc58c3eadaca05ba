"""Usage counts what the client sent and what the model decoded for it; words of the server's are neither."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.live_server import WAIT_S, LiveServer, chat

MESSAGES = chat()["messages"]


def sent(server: LiveServer, messages: list[dict[str, Any]] = MESSAGES) -> int:
    """The tokens of a chat, as `/tokenize` counts them."""
    told = httpx.post(f"{server.url}/tokenize", json={"messages": messages}, trust_env=False, timeout=WAIT_S)
    return int(told.json()["count"])


def decoded(server: LiveServer, text: str) -> int:
    return len(server.deployment.chat.tokenizer.encode(text))


@pytest.mark.parametrize("budget", [0, 1, 6])
@pytest.mark.parametrize("words", [None, " That is enough.", " Enough of this, I think, and now for the answer."])
def test_a_landing_and_a_client_s_closing_words_count_nowhere(
    confident: LiveServer, budget: int, words: str | None
) -> None:
    reply = confident.post(max_tokens=300, thinking_budget=budget, reasoning_budget_message=words).json()
    usage, laser = reply["usage"], reply["laser"]
    assert laser["exit_reason"] == "budget"
    assert usage["prompt_tokens"] == sent(confident)
    assert usage["completion_tokens_details"]["reasoning_tokens"] == budget
    thinking = confident.deployment.chat.thinking
    landing = len(thinking.landing) if words is None else decoded(confident, words) + len(thinking.closing)
    assert laser["forced_tokens"] == (landing if budget else 0)  # a thought that is none is closed in the prompt
    assert reply["choices"][0]["finish_reason"] == "length"  # max_tokens bounds all of the reply
    assert usage["completion_tokens"] == 300 - laser["forced_tokens"]


def test_the_suffix_of_an_adopted_probe_counts_nowhere_and_its_answer_counts(confident: LiveServer) -> None:
    reply = confident.post(max_tokens=400).json()
    usage, laser = reply["usage"], reply["laser"]
    assert (laser["exit_reason"], laser["withdrawn_tokens"] > 0) == ("confidence", True)
    assert usage["prompt_tokens"] == sent(confident)
    assert laser["forced_tokens"] == len(confident.deployment.chat.thinking.probe_suffix)
    assert usage["completion_tokens"] == laser["reasoning_tokens"] + len(["7", "}", "<|im_end|>"])


def test_all_endpoints_and_streams_count_alike(confident: LiveServer) -> None:
    body = {"max_output_tokens": 300, "thinking_budget": 6, "input": MESSAGES}
    usage = confident.post(max_tokens=300, thinking_budget=6).json()["usage"]
    told = httpx.post(f"{confident.url}/v1/responses", json=body, trust_env=False, timeout=WAIT_S).json()["usage"]
    assert (told["input_tokens"], told["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert told["total_tokens"] == usage["total_tokens"]
    asked = {"max_tokens": 300, "thinking_budget": 6, "stream": True, "stream_options": {"include_usage": True}}
    assert f'"completion_tokens":{usage["completion_tokens"]},' in confident.post(**asked).text


def test_usage_never_exceeds_the_model_s_length(confident: LiveServer) -> None:
    room = httpx.get(f"{confident.url}/v1/models", trust_env=False).json()["data"][0]["max_model_len"]
    for budget in (0, 3):
        body = {"max_tokens": room - sent(confident), "thinking_budget": budget, "ignore_eos": False}
        usage = confident.post(**body).json()["usage"]
        assert usage["total_tokens"] <= room
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_bare_continuation_counts_its_prompt_and_itself(server: LiveServer) -> None:
    tokens = httpx.post(f"{server.url}/tokenize", json={"prompt": "Okay. Step 1:"}, trust_env=False).json()["tokens"]
    body = {"prompt": tokens, "max_tokens": 5}
    reply = httpx.post(f"{server.url}/v1/completions", json=body, trust_env=False, timeout=WAIT_S).json()
    assert reply["usage"]["prompt_tokens"] == len(tokens)
    assert reply["usage"]["completion_tokens"] == 5
    assert reply["laser"]["forced_tokens"] == 0
