"""The endpoints beside chat: completions, responses, tokens, and what tells of the server."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx
import openai
import pytest

from controller.serving.reply import Channel, Delta
from controller.serving.request import NO_THOUGHT, Outcome
from engine.base import FinishReason
from laser.server.api.headers import ResponseHeader
from laser.server.api.responses import ResponsesShape
from laser.server.api.shape import ReplyHeader
from tests.support.live_server import ENDLESS, WAIT_S, LiveServer, chat, wait_until

QUESTION = "What is 12 + 30?"


def sdk(server: LiveServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=WAIT_S)


def post(server: LiveServer, path: str, **body: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=body, trust_env=False, timeout=WAIT_S)


def events(server: LiveServer, path: str, **body: Any) -> list[dict[str, Any]]:
    """A stream's events, comments and [DONE] left out."""
    with httpx.stream("POST", server.url + path, json={**body, "stream": True}, trust_env=False, timeout=WAIT_S) as it:
        data = [line.removeprefix("data: ") for line in it.iter_lines() if line.startswith("data: ")]
    return [json.loads(each) for each in data if each != "[DONE]"]


# --- completions


def test_a_bare_prompt_is_continued_without_a_thought(server: LiveServer) -> None:
    reply = post(server, "/v1/completions", prompt="Okay. Step 1:", max_tokens=12).json()
    assert reply["object"] == "text_completion"
    assert reply["choices"][0]["text"]
    assert reply["choices"][0]["reasoning"] is None
    assert reply["laser"]["exit_reason"] is None
    assert reply["usage"]["completion_tokens"] <= 12


def test_a_prompt_that_ends_inside_a_thought_is_thought_about(confident: LiveServer) -> None:
    reply = post(confident, "/v1/completions", prompt=f"{QUESTION}<think>\n", max_tokens=400).json()
    assert reply["laser"]["exit_reason"] == "confidence"
    assert "\\boxed{7}" in reply["choices"][0]["text"]
    assert reply["choices"][0]["reasoning"].startswith("the")


@pytest.mark.slow
@pytest.mark.parametrize(
    "off",
    [{"reasoning_effort": "none"}, {"reasoning": {"enabled": False}}, {"enable_thinking": False}, {"think": False}],
    ids=str,
)
def test_a_thought_that_the_prompt_opens_can_be_switched_off(confident: LiveServer, off: dict[str, Any]) -> None:
    body = {"prompt": f"{QUESTION}<think>\n", "max_tokens": 400, **off}
    laser = post(confident, "/v1/completions", **body).json()["laser"]
    assert (laser["exit_reason"], laser["budget"], laser["reasoning_tokens"]) == ("budget", 0, 0)


def test_tokens_and_a_list_of_one_are_prompts_too(server: LiveServer) -> None:
    tokens = post(server, "/tokenize", prompt=QUESTION).json()["tokens"]
    texts = {
        post(server, "/v1/completions", prompt=prompt, max_tokens=8).json()["choices"][0]["text"]
        for prompt in (QUESTION, [QUESTION], tokens, [tokens], [float(token) for token in tokens])
    }
    assert len(texts) == 1


def test_a_streamed_completion_says_the_same_as_a_whole_one(confident: LiveServer) -> None:
    body = {"prompt": f"{QUESTION}<think>\n", "max_tokens": 400, "stream_options": {"include_usage": True}}
    whole = post(confident, "/v1/completions", **body).json()
    parts = events(confident, "/v1/completions", **body)
    said = [part["choices"][0] for part in parts if part["choices"]]
    assert "".join(each["text"] for each in said) == whole["choices"][0]["text"]
    assert "".join(each.get("reasoning", "") for each in said) == whole["choices"][0]["reasoning"]
    assert said[-1]["finish_reason"] == "stop"
    assert parts[-1]["usage"] == whole["usage"]


def test_the_sdk_completes(server: LiveServer) -> None:
    with sdk(server) as client:
        reply = client.completions.create(model="little", prompt=QUESTION, max_tokens=8)
        assert reply.choices[0].text
        streamed = client.completions.create(model="little", prompt=QUESTION, max_tokens=8, stream=True)
        assert "".join(part.choices[0].text for part in streamed if part.choices) == reply.choices[0].text


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("", "must be a text or a list of tokens, and not empty"),
        ([], "not empty"),
        (["a", "b"], "has 2 entries, must be 1"),
        ([10**9], "prompt has token 1000000000, must lie in 0…"),
        ([1, -1, 2], "prompt has token -1, must lie in 0…"),
        ([1, True], "has 2 entries, must be 1"),
        ([1.5], "must be a text or a list of tokens"),
        (7, "must be a text"),
    ],
)
def test_a_wrong_prompt_is_named(server: LiveServer, prompt: object, told: str) -> None:
    response = post(server, "/v1/completions", prompt=prompt)
    assert response.status_code == 400
    assert told in response.json()["error"]["message"]
    assert response.json()["error"]["param"] == "prompt"


# --- responses


def test_the_sdk_reads_a_response_with_its_thought(confident: LiveServer) -> None:
    with sdk(confident) as client:
        reply = client.responses.create(
            model="confident", input=QUESTION, instructions="Be brief.", max_output_tokens=300
        )
    assert reply.status == "completed"
    assert "\\boxed{7}" in reply.output_text
    thought, message = reply.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert thought.content[0].text.startswith("the")
    assert message.type == "message"
    assert reply.usage is not None
    assert reply.usage.output_tokens_details.reasoning_tokens > 0
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens


def test_the_sdk_reads_a_streamed_response(confident: LiveServer) -> None:
    with sdk(confident) as client:
        stream = list(client.responses.create(model="confident", input=QUESTION, max_output_tokens=400, stream=True))
        assert [event.sequence_number for event in stream] == list(range(len(stream)))
        thought = "".join(each.delta for each in stream if each.type == "response.reasoning_text.delta")
        answer = "".join(each.delta for each in stream if each.type == "response.output_text.delta")
        last = stream[-1]
        assert last.type == "response.completed"
        assert last.response.output_text == answer
        assert thought.startswith("the")
        kinds = list(dict.fromkeys(event.type.removeprefix("response.") for event in stream))
        assert kinds == [
            "created", "in_progress", "output_item.added", "content_part.added", "reasoning_text.delta",
            "reasoning_text.done", "content_part.done", "output_item.done", "output_text.delta", "output_text.done",
            "completed",
        ]  # fmt: skip
        with client.responses.stream(model="confident", input=QUESTION, max_output_tokens=400) as helper:
            assert helper.get_final_response().output_text == answer


def test_a_conversation_is_sent_as_items(confident: LiveServer) -> None:
    first = post(confident, "/v1/responses", input=QUESTION, max_output_tokens=400).json()
    items = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}, *first["output"]]
    again = post(confident, "/v1/responses", input=[*items, {"role": "user", "content": "Sure?"}])
    assert again.status_code == 200


def test_a_response_cut_by_its_length_is_incomplete(server: LiveServer) -> None:
    reply = post(server, "/v1/responses", input=QUESTION, max_output_tokens=3).json()
    assert (reply["status"], reply["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    last = events(server, "/v1/responses", input=QUESTION, max_output_tokens=3)[-1]
    assert last["type"] == "response.incomplete"


def test_a_thought_may_be_left_out_of_a_response(confident: LiveServer) -> None:
    body = {"input": QUESTION, "max_output_tokens": 400, "include_reasoning": False}
    assert [item["type"] for item in post(confident, "/v1/responses", **body).json()["output"]] == ["message"]
    assert not [event for event in events(confident, "/v1/responses", **body) if "reasoning" in event["type"]]


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"input": 7}, "input", "is int, must be a text or a list"),
        ({"input": []}, "input", "has 0 messages, needs 1 or more"),
        ({"input": [{"type": "web_search_call"}]}, "input", "item 0 is of type 'web_search_call', must be one of"),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id", "responses are not stored here"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens", "is 0, must be at least 1"),
    ],
)
def test_a_wrong_response_request_is_named(server: LiveServer, body: dict[str, Any], param: str, told: str) -> None:
    response = post(server, "/v1/responses", **body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert told in response.json()["error"]["message"]


# --- control, deadlines, words


def test_a_running_thought_is_ended_by_a_control_call(narrow: LiveServer) -> None:
    url, body = f"{narrow.url}/v1/chat/completions", chat(stream=True, max_tokens=ENDLESS)
    with httpx.stream("POST", url, json=body, trust_env=False, timeout=WAIT_S) as response:
        lines = (line for line in response.iter_lines() if line.startswith("data: {"))
        name = json.loads(next(lines).removeprefix("data: "))["id"]
        next(lines)
        told = post(narrow, "/v1/chat/completions/control", id=name, action="reasoning_end")
        parts = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert told.json() == {"id": name, "action": "reasoning_end", "ended": True}
    assert parts[-1]["laser"]["exit_reason"] == "requested"
    gone = post(narrow, "/v1/chat/completions/control", id=name, action="reasoning_end")
    assert (gone.status_code, gone.json()["error"]["param"]) == (404, "id")


@pytest.mark.slow
@pytest.mark.parametrize("by", ["header", "body"])
def test_a_deadline_cuts_the_thought_in_time(narrow: LiveServer, by: str) -> None:
    narrow.post(max_tokens=60)  # so that the server knows its pace
    headers = {"x-slo-deadline-ms": "3000"} if by == "header" else {}
    extra = {} if by == "header" else {"laser": {"deadline_ms": 3000}}
    url, body = f"{narrow.url}/v1/chat/completions", chat(max_tokens=ENDLESS, budget=None, **extra)
    reply = httpx.post(url, json=body, headers=headers, trust_env=False, timeout=WAIT_S).json()
    assert reply["laser"]["exit_reason"] == "deadline"
    assert reply["choices"][0]["message"]["content"]


def test_an_objective_that_cannot_be_is_named(server: LiveServer) -> None:
    response = httpx.post(
        f"{server.url}/v1/chat/completions", json=chat(), headers={"x-slo-ttft-ms": "5e-324"}, trust_env=False
    )
    assert response.status_code == 400
    assert "x-slo-ttft-ms is '5e-324', must be a number of at least 1 " in response.json()["error"]["message"]


def test_a_request_can_ask_not_to_be_probed(confident: LiveServer) -> None:
    probed = confident.post(max_tokens=300).json()["laser"]
    assert (probed["exit_reason"], probed["probes"]) == ("confidence", 1)
    unprobed = confident.post(max_tokens=300, laser={"early_exit": False}).json()["laser"]
    assert (unprobed["exit_reason"], unprobed["probes"]) == ("budget", 0)


def test_a_thought_is_closed_in_the_clients_words(confident: LiveServer) -> None:
    body = {"max_tokens": 300, "thinking_budget": 6, "reasoning_budget_message": " That is enough."}
    message = confident.post(**body).json()["choices"][0]["message"]
    assert message["reasoning"].endswith("That is enough.")
    refused = confident.post(**{**body, "reasoning_budget_message": "a </think> b"}).json()["error"]
    assert "has the closing marker '</think>'" in refused["message"]
    assert refused["param"] == "reasoning_budget_message"


def test_a_clients_own_words_have_room_where_the_reply_has_no_limit(confident: LiveServer) -> None:
    room = confident.deployment.loop.room
    assert confident.deployment.config.default_max_tokens > room  # so that the reply is given all there is
    body = {"max_tokens": None, "thinking_budget": 6, "reasoning_budget_message": " That is enough of it, I think."}
    assert confident.post(**body).json()["choices"][0]["message"]["reasoning"].endswith("I think.")
    refused = confident.post(**{**body, "max_tokens": room}).json()["error"]
    assert (refused["param"], refused["code"]) == ("max_tokens", "context_length_exceeded")


def test_a_streamed_response_has_its_message_though_it_is_empty() -> None:
    shape = ResponsesShape(ReplyHeader(id="resp_x", created=0, model="x"))
    outcome = Outcome(
        finish_reason=FinishReason.STOP,
        prompt_tokens=1,
        completion_tokens=2,
        thought=NO_THOUGHT,
        queue_s=0.0,
        total_s=0.0,
    )
    streamed = shape.piece(Delta(channel=Channel.REASONING, text="hm")) + shape.closing(outcome)
    told = [json.loads(line[6:]) for line in streamed.decode().splitlines() if line.startswith("data: ")]
    added = [each["item"]["type"] for each in told if each["type"] == "response.output_item.added"]
    assert added == ["reasoning", "message"]
    last = told[-1]["response"]
    assert last["output"] == ResponsesShape(shape._identity).whole("hm", "", outcome).model_dump()["output"]


# --- what tells of the server


def test_text_becomes_tokens_and_tokens_become_text(server: LiveServer) -> None:
    told = post(server, "/tokenize", prompt=QUESTION).json()
    assert told["count"] == len(told["tokens"]) > 0
    assert post(server, "/detokenize", tokens=told["tokens"]).json() == {"prompt": QUESTION, "content": QUESTION}
    rendered = post(server, "/tokenize", messages=[{"role": "user", "content": QUESTION}]).json()
    prompt = server.post(max_tokens=200).json()["usage"]["prompt_tokens"]
    assert rendered["count"] == prompt
    assert post(server, "/tokenize").status_code == 400
    assert "must lie in 0…" in post(server, "/detokenize", tokens=[10**9]).json()["error"]["message"]


@pytest.mark.slow
def test_a_long_text_keeps_nobody_waiting(server: LiveServer) -> None:
    """Tokenized beside the event loop, which answers others meanwhile."""
    told: list[int] = []
    text = f"{QUESTION} " * (100_000 // len(QUESTION))
    began = time.monotonic()
    tokenizing = threading.Thread(target=lambda: told.append(post(server, "/tokenize", prompt=text).json()["count"]))
    tokenizing.start()
    answers = 0
    while not told and time.monotonic() - began < WAIT_S:
        answers += httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
    tokenizing.join()
    assert told[0] > 6_000
    assert answers > 0


def test_readiness_version_and_queue_are_told(server: LiveServer) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.get("/ready").json() == {"status": "ready"}
        assert client.get("/version").json()["version"]
        queue = client.get("/laser/queue").json()
    assert (queue["waiting"], queue["requests"], queue["max_waiting"]) == (0, [], 128)


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/version", "/v1/models"])
def test_whatever_can_be_got_has_a_head(server: LiveServer, path: str) -> None:
    head = httpx.head(server.url + path, trust_env=False)
    got = httpx.get(server.url + path, trust_env=False)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


def test_what_never_ends_has_no_head(server: LiveServer) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=WAIT_S) as client:
        assert client.head("/laser/events").status_code == 405
        assert client.get("/health").status_code == 200


def test_metrics_count_what_was_served(confident: LiveServer) -> None:
    def value(line: str) -> float:
        text = httpx.get(f"{confident.url}/metrics", trust_env=False).text
        return sum(float(each.rpartition(" ")[2]) for each in text.splitlines() if each.startswith(line))

    ended = 'laser_replies_total{exit_reason="confidence",finish_reason="stop"}'
    before = value(ended), value("laser_ttft_seconds_count"), value('laser_token_rows_total{kind="reasoning"}')
    reply = confident.post(max_tokens=400).json()
    assert value(ended) == before[0] + 1
    assert value("laser_ttft_seconds_count") == before[1] + 1
    told = reply["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert value('laser_token_rows_total{kind="reasoning"}') == before[2] + told
    assert value("laser_running") == 0.0
    assert value("vllm:") == 0.0


def test_a_client_that_leaves_is_counted(narrow: LiveServer) -> None:
    def abandoned() -> float:
        text = httpx.get(f"{narrow.url}/metrics", trust_env=False).text
        return next(
            float(line.split()[1]) for line in text.splitlines() if line.startswith("laser_replies_abandoned_t")
        )

    before, url = abandoned(), f"{narrow.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=chat(stream=True, max_tokens=ENDLESS), trust_env=False, timeout=WAIT_S):
        narrow.wait_for_load(running=1)
    wait_until(lambda: abandoned() == before + 1)


def test_every_header_of_a_response_is_a_declared_one(server: LiveServer) -> None:
    of_http = {"connection", "content-length", "content-type", "date", "server", "transfer-encoding"}
    replies = [
        server.post(max_tokens=4, stream=True),
        server.post(max_tokens=4, my_own=1),
        server.post(max_tokens="many"),
        httpx.get(f"{server.url}/nowhere", trust_env=False),
        httpx.get(f"{server.url}/laser/queue", trust_env=False),
    ]
    assert set().union(*(reply.headers for reply in replies)) - of_http <= set(ResponseHeader)


def test_openapi_tells_of_errors_and_streams_as_they_are(server: LiveServer) -> None:
    schema = httpx.get(f"{server.url}/openapi.json", trust_env=False).json()
    chats = schema["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert set(chats["200"]["content"]) == {"application/json", "text/event-stream"}
    assert chats["429"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorReply")
    assert "422" not in json.dumps(schema)


@pytest.mark.slow
def test_many_ask_for_metrics_while_requests_come_and_go(server: LiveServer) -> None:
    statuses: list[int] = []
    askers = [
        threading.Thread(target=lambda: statuses.append(server.post(max_tokens=20).status_code)) for _ in range(8)
    ]
    for each in askers:
        each.start()
    while any(each.is_alive() for each in askers):
        for path in ("/metrics", "/laser/queue", "/ready"):
            assert httpx.get(server.url + path, trust_env=False, timeout=WAIT_S).status_code == 200
    assert statuses == [200] * 8
