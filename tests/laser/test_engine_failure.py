"""When the engine fails, the requests in it get a clear error, and the next ones are served."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from controller.loop import ServingLoop
from controller.policies import FixedPolicy
from engine.base import Engine, EngineBrokenError, Event
from engine.wrapper import EngineWrapper
from laser.config import ServeConfig
from laser.deployment import Deployment, deploy
from tests.laser.live_server import WAIT_S, LiveServer, chat, running_deployment


class FragileEngine(EngineWrapper):
    """A real engine whose next step can be made to fail, or all from then on."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.fail_next = threading.Event()
        self.broken = threading.Event()

    def step(self) -> list[Event]:
        if self.broken.is_set():
            raise EngineBrokenError("the arena is gone")
        if self.fail_next.is_set():
            self.fail_next.clear()
            raise MemoryError("the arena has burst")
        return self.engine.step()


@pytest.fixture(scope="module")
def fragile(random_model: Path) -> Iterator[tuple[LiveServer, FragileEngine]]:
    sound = deploy(ServeConfig(model=random_model, name="fragile"))
    engine = FragileEngine(sound.engine)
    with running_deployment(_around(sound, engine)) as live:
        yield live, engine


def _around(sound: Deployment, engine: FragileEngine) -> Deployment:
    loop = ServingLoop(
        engine=engine,
        tokenizer=sound.chat.tokenizer,
        thinking=sound.chat.thinking,
        policy=FixedPolicy(),
        stop_tokens=frozenset(),
        clock=lambda: 0.0,
    )
    return replace(sound, engine=engine, loop=loop)


def test_a_failing_step_is_a_500_and_serving_goes_on(fragile: tuple[LiveServer, FragileEngine]) -> None:
    server, engine = fragile
    engine.fail_next.set()
    response = server.post()
    assert response.status_code == 500
    error = response.json()["error"]
    assert (error["type"], error["message"]) == ("server_error", "the engine failed: MemoryError: the arena has burst")
    assert server.post().status_code == 200
    server.wait_for_load(running=0, waiting=0, cells_reserved=0)


def test_a_stream_that_has_begun_ends_with_the_error(fragile: tuple[LiveServer, FragileEngine]) -> None:
    server, engine = fragile
    url, body = f"{server.url}/v1/chat/completions", chat(stream=True, max_tokens=3000)
    with httpx.stream("POST", url, json=body, trust_env=False, timeout=WAIT_S) as response:
        lines = (line for line in response.iter_lines() if line)
        first = [next(lines) for _ in range(4)]
        engine.fail_next.set()
        rest = list(lines)
    assert "reasoning" in first[-1]
    assert "the arena has burst" in json.loads(rest[-2].removeprefix("data: "))["error"]["message"]
    assert rest[-1] == "data: [DONE]"
    assert server.post().status_code == 200
    assert httpx.get(f"{server.url}/health", trust_env=False).json()["status"] == "ok"


def test_an_engine_that_is_broken_for_good_is_told_of(fragile: tuple[LiveServer, FragileEngine]) -> None:
    """The last test of this module: only a new process serves after it. A supervisor sees it in /health."""
    server, engine = fragile
    engine.broken.set()
    for status in (500, 503):  # the request that it fails on, and those after it
        response = server.post()
        assert response.status_code == status
        assert "the engine is broken: the arena is gone" in response.json()["error"]["message"]
    for path in ("health", "ready"):
        response = httpx.get(f"{server.url}/{path}", trust_env=False)
        assert (response.status_code, response.json()["status"]) == (503, "failed")
