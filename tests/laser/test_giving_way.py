"""One key's crowd does not keep another's request out of a full queue; whoever has to go for it is told so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from laser.config import ServeConfig
from tests.laser.live_server import WAIT_S, LiveServer, chat, running

KEYS = """
keys:
  - {name: crowd, key: sk-crowd-1234}
  - {name: alone, key: sk-alone-1234}
"""


@pytest.fixture
def full(random_model: Path, tmp_path: Path) -> Iterator[LiveServer]:
    """One request of the crowd runs; there is room for one that waits."""
    keys = tmp_path / "keys.yaml"
    keys.write_text(KEYS)
    config = ServeConfig(
        model=random_model, keys=keys, max_batch=1, max_waiting=1, early_exit=False, loop_detection=False
    )
    with running(config, ping_s=0.2) as live, stream(live, "crowd", max_tokens=3500):
        live.wait_for_load(running=1)
        yield live


def stream(server: LiveServer, who: str, **body: object):  # type: ignore[no-untyped-def]
    return httpx.stream("POST", **asking(server, who), json=chat(stream=True, **body))


def asking(server: LiveServer, who: str) -> dict[str, object]:
    return {
        "url": f"{server.url}/v1/chat/completions",
        "headers": {"authorization": f"Bearer sk-{who}-1234"},
        "trust_env": False,
        "timeout": WAIT_S,
    }


def test_whoever_gives_way_before_its_reply_has_begun_gets_a_429(full: LiveServer) -> None:
    answers: list[httpx.Response] = []
    asks = threading.Thread(target=lambda: answers.append(httpx.post(**asking(full, "crowd"), json=chat())))  # type: ignore[arg-type]
    asks.start()
    full.wait_for_load(waiting=1)
    with stream(full, "alone", max_tokens=3500):
        asks.join(WAIT_S)
        (answer,) = answers
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "overloaded"
        assert "this one gives way to another key's" in answer.json()["error"]["message"]
        assert int(answer.headers["retry-after-ms"]) >= 1000
        full.wait_for_load(waiting=1)


def test_whoever_gives_way_in_a_stream_gets_an_error_event(full: LiveServer) -> None:
    with stream(full, "crowd") as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        full.wait_for_load(waiting=1)
        with stream(full, "alone", max_tokens=3500):
            rest = "\n".join(lines)
    assert response.status_code == 200
    assert '"code":"overloaded"' in rest
    assert "this one gives way to another key's" in rest
