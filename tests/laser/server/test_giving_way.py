"""One key's crowd does not keep another's request out of a full queue; whoever has to go for it is told so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from laser.server.config import ServeConfig
from tests.support.live_server import ENDLESS, ENDLESS_CELLS, WAIT_S, LiveServer, chat, running

PATH = "/v1/chat/completions"
KEYS = "keys: [{name: crowd, key: sk-crowd-1234}, {name: alone, key: sk-alone-1234}]"


@pytest.fixture
def server(endless_model: Path, tmp_path: Path) -> Iterator[LiveServer]:
    """A server that decodes one sequence at a time, and lets two wait."""
    keys = tmp_path / "keys.yaml"
    keys.write_text(KEYS)
    config = ServeConfig(
        model=endless_model,
        cells=ENDLESS_CELLS,
        keys=keys,
        max_batch=1,
        max_waiting=2,
        early_exit=False,
        loop_detection=False,
    )
    with running(config, ping_s=0.2) as live:
        yield live


@pytest.fixture
def crowd(server: LiveServer) -> Iterator[httpx.Client]:
    """A key of which one request runs and one waits."""
    with client(server, "crowd") as crowd, stream(crowd):
        server.wait_for_load(running=1)
        with stream(crowd):
            server.wait_for_load(waiting=1)
            yield crowd


@pytest.fixture
def alone(server: LiveServer) -> Iterator[httpx.Client]:
    with client(server, "alone") as alone:
        yield alone


def client(server: LiveServer, who: str) -> httpx.Client:
    headers = {"authorization": f"Bearer sk-{who}-1234"}
    return httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=WAIT_S)


def stream(who: httpx.Client) -> AbstractContextManager[httpx.Response]:
    return who.stream("POST", PATH, json=chat(stream=True, max_tokens=ENDLESS))


def test_whoever_gives_way_before_its_reply_has_begun_gets_a_429(
    server: LiveServer, crowd: httpx.Client, alone: httpx.Client
) -> None:
    answers: list[httpx.Response] = []
    asks = threading.Thread(target=lambda: answers.append(crowd.post(PATH, json=chat())))
    asks.start()
    server.wait_for_load(waiting=2)
    with stream(alone):
        asks.join(WAIT_S)
        server.wait_for_load(waiting=2)
    (answer,) = answers
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "overloaded"
    assert "this one gives way to another key's" in answer.json()["error"]["message"]
    assert int(answer.headers["retry-after-ms"]) >= 1000


def test_whoever_gives_way_in_a_stream_gets_an_error_event(
    server: LiveServer, crowd: httpx.Client, alone: httpx.Client
) -> None:
    with stream(crowd) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        server.wait_for_load(waiting=2)
        with stream(alone):
            rest = "\n".join(lines)
    assert response.status_code == 200
    assert '"code":"overloaded"' in rest
    assert "this one gives way to another key's" in rest
