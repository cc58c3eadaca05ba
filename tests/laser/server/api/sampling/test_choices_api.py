"""Several replies over HTTP, log-probabilities of their tokens, and replies that come again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
import torch

from controller.policies.fixed import FixedThreshold
from laser.server.config import ServeConfig
from models.reasoner import bundled_model
from tests.support.live_server import WAIT_S, LiveServer, chat, running, save_random_model

DRAWN: dict[str, Any] = {"temperature": 1.0, "seed": 11, "max_tokens": 24, "min_p": 0.05}
SCORED: dict[str, Any] = {"echo": True, "logprobs": 2, "max_tokens": 1}
NATS = 1e-4  # how far a log-probability in float32 may be from the one in float64


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The server of a random model, whose replies depend on every draw."""
    directory = save_random_model(tmp_path_factory.mktemp("drawing"))
    with running(ServeConfig(model=directory, name="drawing", policy=FixedThreshold(), max_batch=8)) as live:
        yield live


def post(server: LiveServer, path: str, **body: Any) -> dict[str, Any]:
    response = httpx.post(f"{server.url}{path}", json=body, trust_env=False, timeout=WAIT_S)
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def chunks(server: LiveServer, path: str, **body: Any) -> list[dict[str, Any]]:
    url = f"{server.url}{path}"
    with httpx.stream("POST", url, json={**body, "stream": True}, trust_env=False, timeout=WAIT_S) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def said(reply: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["message"]["reasoning"] or "", each["message"]["content"]) for each in reply["choices"]]


# --- several replies


def test_a_stream_of_several_choices_says_what_the_whole_replies_do(drawing: LiveServer) -> None:
    body = chat(**DRAWN, n=3, stream_options={"include_usage": True})
    whole = post(drawing, "/v1/chat/completions", **{**body, "stream_options": None})
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert len(set(said(whole))) == 3
    parts = chunks(drawing, "/v1/chat/completions", **body)
    text: dict[tuple[int, str], str] = {}
    for part in parts:
        for choice in part["choices"]:
            for field, piece in choice["delta"].items():
                text[choice["index"], field] = text.get((choice["index"], field), "") + (piece or "")
    assert [(text.get((i, "reasoning"), ""), text[i, "content"]) for i in range(3)] == said(whole)
    ends = [(choice["index"], part["laser"]) for part in parts for choice in part["choices"] if choice["finish_reason"]]
    assert sorted(index for index, _ in ends) == [0, 1, 2]
    told = dict(ends)
    for choice in whole["choices"]:
        mine = told[choice["index"]]
        assert choice["laser"]["reasoning_tokens"] == mine["reasoning_tokens"]
    assert parts[-1]["usage"] == whole["usage"]
    one = post(drawing, "/v1/chat/completions", **{**body, "n": 1, "stream_options": None})
    assert one["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]
    assert one["usage"]["completion_tokens"] < whole["usage"]["completion_tokens"]
    assert one["choices"][0]["laser"] is None


def test_each_choice_is_that_of_its_own_seed(drawing: LiveServer) -> None:
    several = said(post(drawing, "/v1/chat/completions", **chat(**DRAWN, n=3)))
    for place, one in enumerate(several):
        assert said(post(drawing, "/v1/chat/completions", **chat(**{**DRAWN, "seed": 11 + place}))) == [one]


def test_the_sdk_reads_several_choices_with_their_log_probabilities(drawing: LiveServer) -> None:
    with openai.OpenAI(base_url=f"{drawing.url}/v1", api_key="x", max_retries=0, timeout=WAIT_S) as client:
        reply = client.chat.completions.create(
            model="drawing", messages=[{"role": "user", "content": "1+1?"}], n=2, logprobs=True, top_logprobs=2,
            temperature=1.0, seed=3, max_tokens=20,
        )  # fmt: skip
        for choice in reply.choices:
            assert choice.logprobs is not None
            assert choice.logprobs.content is not None
            assert all(len(place.top_logprobs) == 2 for place in choice.logprobs.content)
        text = client.completions.create(
            model="drawing", prompt="1", n=2, best_of=4, logprobs=1, temperature=1.0, seed=3,
            extra_body={"ignore_eos": True},
        )  # fmt: skip
    assert [choice.index for choice in text.choices] == [0, 1]
    means = [sum(each.logprobs.token_logprobs) / len(each.logprobs.tokens) for each in text.choices]  # type: ignore[union-attr, arg-type]
    assert means == sorted(means, reverse=True)
    assert text.usage is not None
    assert text.usage.completion_tokens == 4 * 16


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"n": 9}, "n", "is 9, must be at most 8: so many replies are decoded at once"),
        ({"best_of": 9}, "best_of", "is 9, must be at most 8"),
        ({"n": 3, "best_of": 2}, "best_of", "is 2, must be at least n, which is 3"),
        ({"best_of": 2, "stream": True}, "best_of", "is 2, must be n in a stream"),
        ({"echo": True, "logprobs": 1}, "max_tokens", "is 16, must be 0 or 1 beside echo and logprobs"),
        ({**SCORED, "n": 2}, "n", "is 2, must be 1 beside echo and logprobs"),
        ({**SCORED, "stream": True}, "stream", "is True, must be false beside echo and logprobs"),
        ({**SCORED, "laser": {"thinking": "open"}}, "laser.thinking", "must be left out beside echo and logprobs"),
        ({**SCORED, "regex": "a"}, "regex", "must be left out where the prompt is scored"),
        ({"max_tokens": 0}, "max_tokens", "is 0, must be at least 1 unless echo and logprobs"),
        ({**SCORED, "prompt": [7], "max_tokens": 0}, "prompt", "has 1 token, needs 2 or more where max_tokens is 0"),
        ({"logprobs": True}, "logprobs", "is True"),
    ],
)
def test_what_excludes_one_another_is_named(drawing: LiveServer, body: dict[str, Any], param: str, told: str) -> None:
    url = f"{drawing.url}/v1/completions"
    response = httpx.post(url, json={"prompt": "1", **body}, trust_env=False, timeout=WAIT_S)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert told in response.json()["error"]["message"]


def test_the_prompt_comes_back_where_it_is_asked_for(drawing: LiveServer) -> None:
    plain = post(drawing, "/v1/completions", prompt="1 + 1", max_tokens=4)["choices"][0]["text"]
    echoed = post(drawing, "/v1/completions", prompt="1 + 1", max_tokens=4, echo=True)["choices"][0]["text"]
    assert echoed == "1 + 1" + plain
    tokens = post(drawing, "/tokenize", prompt="1 + 1")["tokens"]
    streamed = chunks(drawing, "/v1/completions", prompt=tokens, max_tokens=4, echo=True)
    assert "".join(choice["text"] for part in streamed for choice in part["choices"]) == "1 + 1" + plain


# --- log-probabilities


def number(name: str) -> int:
    """A token, of the name that it has in a log-probability."""
    return int(name.removeprefix("token_id:"))


def exact(server: LiveServer, prompt: list[int], reply: list[int]) -> torch.Tensor:
    """Log-probabilities of every token in each place of a reply, in float64."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(server.deployment.config.model, dtype=torch.float64)
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + reply])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(dim=-1)


def test_log_probabilities_are_those_of_float64(drawing: LiveServer) -> None:
    prompt = post(drawing, "/tokenize", prompt="What is 12 + 30?")["tokens"]
    tokenizer = drawing.deployment.chat.tokenizer
    seen = {
        token for token, text in enumerate(tokenizer.texts) if text.strip() and text.isascii() and text.isprintable()
    }
    unseen = set(range(len(tokenizer.texts))) - (seen - tokenizer.markers.ids)  # half characters, blanks, markers
    body = {
        "prompt": prompt, "max_tokens": 12, "temperature": 0.0, "frequency_penalty": 1.0, "logprobs": 5,
        "logit_bias": {str(token): -100 for token in unseen}, "ignore_eos": True,
    }  # fmt: skip
    told = post(drawing, "/v1/completions", **body, return_tokens_as_token_ids=True)["choices"][0]["logprobs"]
    reply = [number(name) for name in told["tokens"]]
    table = exact(drawing, prompt, reply)
    assert len(reply) == 12
    chosen = [float(row[token]) for row, token in zip(table, reply, strict=True)]
    assert told["token_logprobs"] == pytest.approx(chosen, abs=NATS)
    for row, token, likeliest in zip(table, reply, told["top_logprobs"], strict=True):
        best = row.topk(5)
        expected = dict(zip(best.indices.tolist(), best.values.tolist(), strict=True)) | {token: float(row[token])}
        assert {number(name): value for name, value in likeliest.items()} == pytest.approx(expected, abs=NATS)


def check_scored_prompt(server: LiveServer) -> None:
    """A prompt's log-probabilities are float64's, whatever tokens it has, and what may follow is told behind them."""
    text = "<|im_start|>user\n7 é?<|im_end|>\n<|im_start|>assistant\nIt is"
    prompt = post(server, "/tokenize", prompt=text)["tokens"]
    whole = post(server, "/v1/completions", prompt=prompt, **SCORED, return_tokens_as_token_ids=True)
    told = whole["choices"][0]["logprobs"]
    tokens = [number(name) for name in told["tokens"]]
    assert tokens[:-1] == prompt
    assert [told["token_logprobs"][0], told["top_logprobs"][0], told["text_offset"][0]] == [None, None, 0]
    table = exact(server, prompt[:1], tokens[1:])
    scores = [float(row[token]) for row, token in zip(table, tokens[1:], strict=True)]
    assert told["token_logprobs"][1:] == pytest.approx(scores, abs=NATS)
    for row, score, likeliest in zip(table, scores, told["top_logprobs"][1:], strict=True):
        assert max(likeliest.values()) == pytest.approx(max(float(row.max()), score), abs=NATS)
    assert whole["usage"]["prompt_tokens"] == len(prompt)
    assert whole["usage"]["completion_tokens"] == 1
    alone = post(server, "/v1/completions", prompt=text, **{**SCORED, "max_tokens": 0})
    assert alone["choices"][0]["text"] == text
    assert alone["usage"]["completion_tokens"] == 0
    again = alone["choices"][0]["logprobs"]
    assert again["token_logprobs"] == told["token_logprobs"][:-1]
    offsets = [at for at, name in zip(again["text_offset"], again["tokens"], strict=True) if "\ufffd" not in name]
    assert "".join(text[at] for at in offsets[:3]) == "".join(name[0] for name in again["tokens"][:3])


def test_a_prompts_log_probabilities_are_those_of_float64(drawing: LiveServer) -> None:
    check_scored_prompt(drawing)
    laser = post(drawing, "/v1/completions", prompt="<think>\nSo", **SCORED)["laser"]
    assert (laser["exit_reason"], laser["reasoning_tokens"]) == (None, 0)  # it is scored, not thought about


@pytest.mark.slow
def test_so_are_those_of_the_bundled_model() -> None:
    with running(ServeConfig(model=bundled_model(), name="bundled")) as live:
        check_scored_prompt(live)


@pytest.mark.parametrize("extra", [{}, {"stop": ["0"]}, {"thinking_budget": 3}], ids=["free", "stopped", "cut"])
def test_log_probabilities_follow_the_text_whole_and_streamed(drawing: LiveServer, extra: dict[str, Any]) -> None:
    body = chat(**{**DRAWN, "max_tokens": 160}, logprobs=True, top_logprobs=1, **extra)
    reply = post(drawing, "/v1/chat/completions", **body)
    choice, cut = reply["choices"][0], reply["laser"]["exit_reason"] != "natural"
    for part, text in (("content", choice["message"]["content"]), ("reasoning", choice["message"]["reasoning"] or "")):
        told = choice["logprobs"][part] or []
        spelled = b"".join(bytes(place["bytes"]) for place in told).decode("utf-8", "replace")
        assert spelled, part
        if part == "reasoning" and cut:  # the landing's words stand behind the thought
            assert text.startswith(spelled.strip())
        else:
            assert spelled.strip().startswith(text.strip()), (spelled, text)
    streamed: dict[str, list[Any]] = {"content": [], "reasoning": []}
    for each in chunks(drawing, "/v1/chat/completions", **body):
        for piece in each["choices"]:
            for part in streamed:
                streamed[part] += (piece["logprobs"] or {}).get(part) or []
    assert streamed == {part: choice["logprobs"][part] or [] for part in streamed}


def test_an_adopted_answer_has_its_probabilities(confident: LiveServer) -> None:
    reply = post(confident, "/v1/chat/completions", **chat(max_tokens=400, logprobs=True))
    assert reply["laser"]["exit_reason"] == "confidence"
    told = reply["choices"][0]["logprobs"]["content"]
    assert [place["token"] for place in told if place["token"] == "7"] == ["7"]
    assert not any(place["token"].startswith("**Final") for place in told)  # the server's words have none


def test_a_response_includes_log_probabilities(drawing: LiveServer) -> None:
    body = {"input": "1+1?", "max_output_tokens": 20, "include": ["message.output_text.logprobs"], "top_logprobs": 1}
    text = post(drawing, "/v1/responses", **body)["output"][-1]["content"][0]
    assert text["logprobs"]
    spelled = b"".join(bytes(each["bytes"]) for each in text["logprobs"]).decode("utf-8", "replace")
    assert spelled.strip().startswith(text["text"].strip())
    assert all(len(each["top_logprobs"]) == 1 for each in text["logprobs"])


# --- replies that come again


def test_a_seed_gets_the_same_reply_whatever_else_runs(drawing: LiveServer) -> None:
    body = chat(**{**DRAWN, "max_tokens": 60, "laser": {"threshold": 0.9, "budget": 30}})
    alone = post(drawing, "/v1/chat/completions", **body)
    assert alone["laser"]["reproducible"] is True
    with ThreadPoolExecutor(8) as pool:
        others = [pool.submit(post, drawing, "/v1/chat/completions", **chat(**{**DRAWN, "seed": i})) for i in range(12)]
        again = [pool.submit(post, drawing, "/v1/chat/completions", **body) for _ in range(4)]
        assert all(other.result() for other in others)
    assert [said(each.result()) for each in again] == [said(alone)] * 4


def test_a_reply_that_may_not_end_goes_on_to_its_limit(confident: LiveServer) -> None:
    reply = post(confident, "/v1/chat/completions", **chat(max_tokens=90, ignore_eos=True))
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] + reply["laser"]["forced_tokens"] == 90
    longer = post(confident, "/v1/chat/completions", **chat(max_tokens=90, min_tokens=50))
    assert longer["usage"]["completion_tokens"] >= 50


def test_a_bias_keeps_a_token_out_and_a_stop_token_ends_the_answer(drawing: LiveServer) -> None:
    body = {"prompt": "What is 12 + 30?", "max_tokens": 12, "temperature": 0.0, "logprobs": 0}
    plain = post(drawing, "/v1/completions", **body)["choices"][0]
    first, second = plain["logprobs"]["tokens"][0], plain["logprobs"]["tokens"][1]
    token = {name: post(drawing, "/tokenize", prompt=name)["tokens"] for name in (first, second)}
    (kept_out,), (stop,) = token[first], token[second]
    biased = post(drawing, "/v1/completions", **body, logit_bias={str(kept_out): -100})["choices"][0]
    assert first not in biased["logprobs"]["tokens"]
    stopped = post(drawing, "/v1/completions", **body, stop_token_ids=[stop])["choices"][0]
    assert (stopped["finish_reason"], stopped["logprobs"]["tokens"]) == ("stop", [first])
