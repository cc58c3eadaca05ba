"""A stream tells who asks how far its request is, in its own framing; who does not ask sees comments at most."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from controller.serving.admission import Turn
from controller.serving.request import Checkpoint
from controller.serving.status import RequestProgress, Stage
from laser.server.api.anthropic.reply import MessagesShape
from laser.server.api.chat import Completion
from laser.server.api.completions import TextShape
from laser.server.api.ollama.chat import OllamaChatLines
from laser.server.api.responses import ResponsesShape
from laser.server.api.shape import ReplyHeader, ReplyShape
from laser.server.api.streams.notices import ProgressNotice
from tests.support.live_server import ENDLESS, WAIT_S, LiveServer, chat

SHORT = "What is 3 + 4? Put the answer in \\boxed{}."
HEADER = ReplyHeader(id="resp_1", created=0, model="m")
CHECKPOINT = Checkpoint(
    thought_tokens=12, beyond=2, answer="42", confidence=0.9, joint=0.8, log_probs=(-0.1,), gave_up=False, rows=9
)
WAITS = ProgressNotice.of_turn(Turn(position=3, eta_s=4.2))


def thinking(tokens: int, budget: int | None = 500) -> ProgressNotice:
    return ProgressNotice.of(RequestProgress(stage=Stage.THINKING, tokens=tokens, thought_tokens=tokens, budget=budget))


def data(event: bytes) -> dict[str, Any]:
    (line,) = (line for line in event.decode().splitlines() if line.startswith("data: "))
    told: dict[str, Any] = json.loads(line.removeprefix("data: "))
    return told


@pytest.mark.parametrize("shape", [Completion(HEADER), TextShape(HEADER)])
def test_chunks_without_choices_tell_progress_and_probes(shape: ReplyShape) -> None:
    chunk = data(shape.progressed(WAITS))
    assert chunk["choices"] == []
    waits = {"stage": "waiting", "position": 3, "eta_s": 4.2, "thought_tokens": 0, "budget": None}
    assert chunk["laser"] == {"progress": waits}
    probe = {"thought_tokens": 12, "answer": "42", "confidence": 0.9, "gave_up": False}
    assert data(shape.probed(CHECKPOINT))["laser"] == {"probe": probe}


def test_anthropics_clients_are_told_in_pings_and_ollamas_in_lines_that_say_nothing_else() -> None:
    told = data(MessagesShape(HEADER).progressed(WAITS))
    assert (told["type"], told["laser"]["progress"]["position"]) == ("ping", 3)
    line = json.loads(OllamaChatLines(HEADER).probed(CHECKPOINT))
    assert (line["done"], line["message"]["content"], line["laser"]["probe"]["answer"]) == (False, "", "42")


def test_typed_events_tell_progress_and_probes() -> None:
    shape = ResponsesShape(HEADER)
    first, second = data(shape.progressed(thinking(7))), data(shape.probed(CHECKPOINT))
    assert (first["type"], first["progress"]["thought_tokens"]) == ("laser.progress", 7)
    assert (second["type"], second["probe"]["answer"]) == ("laser.probe", "42")
    assert [first["sequence_number"], second["sequence_number"]] == [0, 1]


@pytest.mark.parametrize(
    ("notice", "comment"),
    [
        (WAITS, b": queue position 3, eta 4.2 s\n\n"),
        (thinking(0), b": started\n\n"),
        (thinking(7), b": thinking, 7 of 500 tokens\n\n"),
        (thinking(7, None), b": thinking, 7 tokens\n\n"),
        (ProgressNotice(stage="answering"), b": answering\n\n"),
    ],
)
def test_the_same_is_told_in_a_comment(notice: ProgressNotice, comment: bytes) -> None:
    assert notice.comment == comment


def test_a_request_is_followed_from_the_queue_to_its_answer(narrow: LiveServer) -> None:
    url, stages = f"{narrow.url}/v1/chat/completions", []
    with httpx.stream("POST", url, json=chat(stream=True, max_tokens=ENDLESS), trust_env=False, timeout=WAIT_S) as held:
        narrow.wait_for_load(running=1)
        body = chat(stream=True, max_tokens=ENDLESS, thinking_budget=40, laser={"progress": True})
        with httpx.stream("POST", url, json=body, trust_env=False, timeout=WAIT_S) as response:
            lines = response.iter_lines()
            for line in lines:
                if '"progress"' not in line:
                    continue
                told = json.loads(line.removeprefix("data: "))["laser"]["progress"]
                stages.append(told["stage"])
                if told["stage"] == "waiting":
                    assert told["position"] == 1
                    held.close()
                if told["stage"] == "thinking":
                    assert told["budget"] == 40
                if told["stage"] == "answering":
                    break
    narrow.wait_for_load(running=0, waiting=0)
    assert list(dict.fromkeys(stages)) == ["waiting", "started", "thinking", "answering"]


def test_a_hidden_thought_tells_how_far_it_is_in_comments(narrow: LiveServer) -> None:
    url = f"{narrow.url}/v1/chat/completions"
    body = chat(stream=True, max_tokens=ENDLESS, include_reasoning=False)
    with httpx.stream("POST", url, json=body, trust_env=False, timeout=WAIT_S) as response:
        lines = (line for line in response.iter_lines() if line.startswith(":"))
        assert any(line.startswith(": thinking, ") and line.endswith(" tokens") for line in lines)
    narrow.wait_for_load(running=0, waiting=0)


def test_openais_client_reads_on_past_what_it_does_not_know(confident: LiveServer) -> None:
    asked: dict[str, Any] = {"extra_body": {"laser": {"progress": True, "probes": True}}, "stream": True}
    with openai.OpenAI(base_url=f"{confident.url}/v1", api_key="unused", max_retries=0, timeout=WAIT_S) as client:
        chunks = list(
            client.chat.completions.create(
                model="confident", messages=[{"role": "user", "content": SHORT}], max_tokens=300, **asked
            )
        )
        events = list(client.responses.create(model="confident", input=SHORT, max_output_tokens=300, **asked))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.endswith("\\boxed{7}")
    assert any(chunk.model_extra and "progress" in (chunk.model_extra.get("laser") or {}) for chunk in chunks)
    kinds = [event.type for event in events]
    assert {"laser.progress", "laser.probe"} <= {*kinds}
    assert kinds[-1] == "response.completed"
