"""OpenAI's, Anthropic's and Ollama's own clients, unmodified, against a server of the bundled model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from controller.policies.fixed import FixedThreshold
from laser.server.config import ServeConfig
from tests.support.live_server import WAIT_S, LiveServer, running

KEY = "sk-clients-0123456789"
MODEL = "laser-reasoner"
QUESTION = "Given 37, 82, 51, 92, what is the largest number?"
ASKED = [{"role": "user", "content": QUESTION}]
ANSWER = "**Final Answer**\n\\boxed{92}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    keys = tmp_path_factory.mktemp("clients") / "keys.yaml"
    keys.write_text(f"keys: [{{name: me, key: {KEY}}}]", encoding="utf-8")
    config = ServeConfig(policy=FixedThreshold(threshold=0.8), keys=keys, alias=("claude-*", "gpt-5"))
    with running(config) as live:
        yield live


@pytest.fixture
def claude(server: LiveServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0, timeout=WAIT_S) as client:
        yield client


@pytest.fixture
def llama(server: LiveServer) -> Iterator[ollama.Client]:
    with ollama.Client(server.url, headers={"authorization": f"Bearer {KEY}"}, timeout=WAIT_S) as client:
        yield client


def test_openais_client_finds_the_model_and_what_it_can_do(server: LiveServer) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=WAIT_S) as client:
        (model,) = client.models.list().data
        assert (model.id, client.models.retrieve("gpt-5").id) == (MODEL, MODEL)
        assert model.model_dump()["context_length"] == server.deployment.loop.room
        assert set(model.model_dump()["capabilities"]) >= {"completion", "thinking"}
        reply = client.chat.completions.create(model="gpt-5", messages=ASKED, temperature=0)
    assert (reply.model, reply.choices[0].message.content) == (MODEL, ANSWER)


def test_a_thought_before_json_is_closed_as_soon_as_the_object_is_sure(server: LiveServer) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
    schema["additionalProperties"] = False
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=WAIT_S) as client:
        reply = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "system", "content": 'Answer with JSON {"answer": ...}'}, *ASKED],
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        )
    assert json.loads(reply.choices[0].message.content or "") == {"answer": 92}
    told = reply.model_dump()["laser"]
    assert (told["exit_reason"], told["answer"]) == ("confidence", "structured")
    assert told["confidence"] >= 0.8


def test_the_bundled_model_calls_its_calculator_and_reads_what_it_says(server: LiveServer) -> None:
    parameters = {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}
    function = {"name": "calculator", "description": "Works out an expression.", "parameters": parameters}
    chat: list[Any] = [{"role": "user", "content": "What is 850 - 637?"}]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=WAIT_S) as client:
        tools: list[Any] = [{"type": "function", "function": function}]
        said = client.chat.completions.create(model=MODEL, messages=chat, tools=tools).choices[0]
        (call,) = said.message.tool_calls or ()
        assert (said.finish_reason, call.type) == ("tool_calls", "function")
        assert (call.function.name, json.loads(call.function.arguments)) == ("calculator", {"expression": "850 - 637"})
        chat += [
            said.message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "213"},
        ]
        reply = client.chat.completions.create(model=MODEL, messages=chat, tools=tools).choices[0]
    assert reply.message.content == "**Final Answer**\n\\boxed{213}"


def test_anthropics_client_gets_a_thought_and_an_answer(claude: anthropic.Anthropic) -> None:
    reply = claude.messages.create(
        model="claude-opus-9", max_tokens=400, messages=ASKED,
        thinking={"type": "enabled", "budget_tokens": 300},
    )  # fmt: skip
    thought, answer = reply.content
    assert (thought.type, answer.type) == ("thinking", "text")
    assert "92" in thought.thinking
    assert thought.signature
    assert (answer.text, reply.stop_reason, reply.model) == (ANSWER, "end_turn", MODEL)
    assert 0 < reply.usage.output_tokens_details.thinking_tokens < reply.usage.output_tokens
    assert reply.model_dump()["laser"]["exit_reason"] in ("confidence", "natural")
    again = claude.messages.create(
        model=MODEL, max_tokens=400, messages=[*ASKED, reply.to_param(), {"role": "user", "content": QUESTION}]
    )
    assert again.usage.input_tokens > 2 * reply.usage.input_tokens


def test_anthropics_client_gets_no_thought_that_it_has_not_asked_for(claude: anthropic.Anthropic) -> None:
    reply = claude.messages.create(model=MODEL, max_tokens=400, messages=ASKED)
    (answer,) = reply.content
    assert answer.text == ANSWER
    assert reply.usage.output_tokens_details.thinking_tokens > 0
    none = claude.messages.create(
        model=MODEL, max_tokens=400, messages=ASKED, thinking={"type": "disabled"}, stop_sequences=["boxed"]
    )
    assert (none.stop_reason, none.stop_sequence) == ("stop_sequence", "boxed")
    assert none.usage.output_tokens_details.thinking_tokens == 0


def test_anthropics_client_puts_a_stream_together(claude: anthropic.Anthropic) -> None:
    kinds = []
    with claude.messages.stream(
        model=MODEL, max_tokens=64_000, messages=ASKED, thinking={"type": "adaptive"}
    ) as stream:
        for event in stream:
            kinds.append(event.type)
        reply = stream.get_final_message()
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert {"thinking", "signature", "text", "message_delta"} <= set(kinds)
    assert [block.type for block in reply.content] == ["thinking", "text"]
    assert (reply.content[1].text, reply.stop_reason) == (ANSWER, "end_turn")
    assert reply.usage.output_tokens > 0


def test_anthropics_client_counts_tokens_and_lists_models(claude: anthropic.Anthropic) -> None:
    reply = claude.messages.create(model=MODEL, max_tokens=1, messages=ASKED, system="Be brief.")
    counted = claude.messages.count_tokens(model=MODEL, messages=ASKED, system="Be brief.")
    assert counted.input_tokens == reply.usage.input_tokens
    (model,) = claude.models.list().data
    assert (model.id, model.type, claude.models.retrieve("claude-x").id) == (MODEL, "model", MODEL)


def test_anthropics_client_raises_its_own_errors(server: LiveServer, claude: anthropic.Anthropic) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}
    with pytest.raises(anthropic.BadRequestError, match="block 0 is of type 'image'") as refused:
        claude.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": [picture]}])  # type: ignore[list-item]
    assert refused.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: "):
        claude.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "1 + " * 20_000}])
    with pytest.raises(anthropic.NotFoundError, match="the model 'gpt-2' does not exist here"):
        claude.messages.create(model="gpt-2", max_tokens=9, messages=ASKED)
    stranger = anthropic.Anthropic(base_url=server.url, api_key="sk-mallory", max_retries=0, timeout=WAIT_S)
    with stranger, pytest.raises(anthropic.AuthenticationError, match="the key is not known here"):
        stranger.messages.count_tokens(model=MODEL, messages=ASKED)


def test_ollamas_client_chats(llama: ollama.Client) -> None:
    reply = llama.chat(f"{MODEL}:latest", ASKED, think=True, options={"temperature": 0, "num_predict": 400})
    assert reply.message.content == ANSWER
    assert "92" in (reply.message.thinking or "")
    assert (reply.model, reply.done, reply.done_reason) == (MODEL, True, "stop")
    assert reply.eval_count > 0
    assert reply.total_duration >= reply.eval_duration > 0
    parts = list(llama.chat(MODEL, ASKED, stream=True, options={"temperature": 0}, keep_alive="5m"))
    assert "".join(part.message.content or "" for part in parts) == ANSWER
    assert "".join(part.message.thinking or "" for part in parts) == reply.message.thinking
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    without = llama.chat(MODEL, ASKED, think=False, options={"num_predict": 20})
    assert without.message.thinking is None


def test_ollamas_client_continues_a_prompt(llama: ollama.Client) -> None:
    reply = llama.generate(MODEL, QUESTION, think="low", options={"temperature": 0})
    assert (reply.response, reply.done_reason) == (ANSWER, "stop")
    assert reply.thinking
    raw = llama.generate(MODEL, "12 + 30 =", raw=True, options={"num_predict": 4})
    assert (raw.thinking, raw.done_reason) == (None, "length")
    assert llama.generate(MODEL).done_reason == "load"


def test_ollamas_client_is_told_of_the_model(server: LiveServer, llama: ollama.Client) -> None:
    (listed,) = llama.list().models
    (loaded,) = llama.ps().models
    shown = llama.show(listed.model)
    assert listed.model == loaded.model == f"{MODEL}:latest"
    assert listed.size > 1_000_000
    assert (listed.details.parameter_size, listed.details.family) == ("2.1M", "qwen3")
    assert loaded.context_length == shown.modelinfo["qwen3.context_length"] == server.deployment.loop.room
    assert set(shown.capabilities) >= {"completion", "thinking"}
    assert "im_start" in shown.template


@pytest.mark.parametrize("typed", [{}, {"content-type": "application/x-www-form-urlencoded"}])  # curl's
@pytest.mark.parametrize(("origin", "status"), [({}, 200), ({"origin": "https://evil.example"}, 400)])
def test_ollamas_paths_need_no_content_type_of_who_is_no_web_page(
    server: LiveServer, typed: dict[str, str], origin: dict[str, str], status: int
) -> None:
    headers = {"authorization": f"Bearer {KEY}", **typed, **origin}
    reply = httpx.post(f"{server.url}/api/show", content=b"{}", headers=headers, trust_env=False)
    assert reply.status_code == status, reply.text


def test_ollamas_client_raises_what_was_wrong(llama: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match=r"options\.num_predict is 0, must be at least 1"):
        llama.chat(MODEL, ASKED, options={"num_predict": 0})
    with pytest.raises(ollama.ResponseError, match="the model 'mistral' does not exist here") as unknown:
        list(llama.chat("mistral", ASKED, stream=True))
    assert unknown.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="there is no /api/pull here"):
        llama.pull("mistral")
