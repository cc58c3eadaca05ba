"""More than the machine can do: first some wait, told for how long; the rest is told when to come back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from laser.server.config import ServeConfig
from tests.support.live_server import ENDLESS, ENDLESS_CELLS, WAIT_S, LiveServer, chat, running, wait_until


@pytest.fixture(scope="module")
def small(endless_model: Path) -> Iterator[LiveServer]:
    """A server that decodes one sequence at a time, and lets two wait."""
    config = ServeConfig(
        model=endless_model,
        cells=ENDLESS_CELLS,
        name="small",
        max_batch=1,
        max_waiting=2,
        early_exit=False,
        loop_detection=False,
    )
    with running(config, ping_s=0.2) as live:
        yield live


@pytest.fixture
def full(small: LiveServer) -> Iterator[LiveServer]:
    """The same, with one request that runs and two that wait."""
    small.wait_for_load(running=0, waiting=0)
    with ExitStack() as held:
        for waiting in range(3):
            held.enter_context(stream(small, max_tokens=ENDLESS))
            small.wait_for_load(running=1, waiting=waiting)
        yield small
    small.wait_for_load(running=0, waiting=0)


def stream(server: LiveServer, **body: Any) -> Any:
    url = f"{server.url}/v1/chat/completions"
    return httpx.stream("POST", url, json=chat(stream=True, **body), trust_env=False, timeout=WAIT_S)


def queue(server: LiveServer) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/laser/queue", trust_env=False).json()
    return found


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_one_too_many_is_told_when_to_come_back(full: LiveServer, streamed: bool) -> None:
    response = full.post(stream=streamed)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (429, "rate_limit_error", "overloaded")
    assert "2 requests wait already, may be at most 2" in error["message"]
    milliseconds = int(response.headers["retry-after-ms"])
    assert int(response.headers["retry-after"]) == -(-milliseconds // 1000)
    assert queue(full)["waiting"] == 2


def test_the_sdk_raises_its_rate_limit_error(full: LiveServer) -> None:
    with (
        openai.OpenAI(base_url=f"{full.url}/v1", api_key="unused", max_retries=0) as client,
        pytest.raises(openai.RateLimitError, match="the server is busy"),
    ):
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": "x"}])


def test_places_are_told_in_the_queue_report_and_in_the_stream(small: LiveServer) -> None:
    small.wait_for_load(running=0, waiting=0)
    with stream(small, max_tokens=ENDLESS):
        small.wait_for_load(running=1)
        with stream(small, max_tokens=8) as response:
            lines = response.iter_lines()
            name = json.loads(next(line for line in lines if line.startswith("data: ")).removeprefix("data: "))["id"]
            wait_until(lambda: [each["id"] for each in queue(small)["requests"]] == [name])
            assert next(line for line in lines if "queue" in line).startswith(": queue position 1, eta ")
            report = queue(small)
    assert (report["running"], report["waiting"]) == (1, 1)
    assert report["requests"][0]["position"] == 1
    assert report["drain_s"] >= 0.0


def test_a_request_that_cannot_wait_so_long_is_refused_at_once(small: LiveServer) -> None:
    small.wait_for_load(running=0, waiting=0)
    url = f"{small.url}/v1/chat/completions"
    impatient = {"x-slo-ttft-ms": "1"}
    assert (
        httpx.post(url, json=chat(max_tokens=4), headers=impatient, trust_env=False, timeout=WAIT_S).status_code == 200
    )
    with stream(small, max_tokens=ENDLESS):
        small.wait_for_load(running=1)
        response = httpx.post(url, json=chat(max_tokens=4), headers=impatient, trust_env=False, timeout=WAIT_S)
    assert response.status_code == 429
    assert "the request allows 0.001 s" in response.json()["error"]["message"]


def test_a_deadline_that_passes_in_the_queue_is_an_error(small: LiveServer) -> None:
    small.wait_for_load(running=0, waiting=0)
    with stream(small, max_tokens=ENDLESS):
        small.wait_for_load(running=1)
        response = small.post(laser={"deadline_ms": 100})
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert response.headers["x-should-retry"] == "false"


def test_ten_times_too_much_loses_nothing_that_was_accepted(small: LiveServer) -> None:
    small.wait_for_load(running=0, waiting=0)
    answers: list[httpx.Response] = []
    clients = [threading.Thread(target=lambda: answers.append(small.post(max_tokens=24))) for _ in range(30)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(WAIT_S)
    accepted = [answer.json() for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(accepted) + len(refused) == 30
    assert len(accepted) >= 3
    assert all(reply["choices"][0]["message"]["content"] for reply in accepted)
    assert all("retry-after" in answer.headers for answer in refused)
    small.wait_for_load(running=0, waiting=0, cells_reserved=0)
