"""`laser serve` in two processes: whichever is killed, stopped or told to end, every client gets an ending."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from laser.server.engine_process.child import MODULE
from models.chat_model import load_chat_model
from tests.support.live_server import ENDLESS, ENDLESS_CELLS, WAIT_S, chat, wait_until
from tests.support.processes import ENVIRONMENT, serving, url_of

pytestmark = pytest.mark.slow

STREAMS = 6
AT_ONCE = 4


@dataclass
class Stream:
    """One client's stream, read on a thread of its own."""

    url: str
    max_tokens: int = ENDLESS
    biases: dict[int, float] = field(default_factory=dict)  # of tokens
    events: list[str] = field(default_factory=list)
    over: bool = False

    def __post_init__(self) -> None:
        self.leave = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        body = chat(stream=True, max_tokens=self.max_tokens, logit_bias=self.biases)
        url = f"{self.url}/v1/chat/completions"
        with (
            suppress(httpx.RemoteProtocolError),  # the server is killed at the end
            httpx.stream("POST", url, json=body, trust_env=False, timeout=WAIT_S) as response,
        ):
            for line in response.iter_lines():
                if line.startswith("data: "):
                    self.events.append(line.removeprefix("data: "))
                if self.leave.is_set():
                    return
            self.over = True

    @property
    def begun(self) -> bool:
        return any('"reasoning' in event for event in self.events)

    @property
    def error(self) -> dict[str, str] | None:
        last = json.loads(self.events[-2]) if self.over and self.events[-1] == "[DONE]" else {}
        found: dict[str, str] | None = last.get("error")
        return found


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[str]
    url: str

    @property
    def engine(self) -> int:
        """The id of the engine's process, as soon as there is one."""
        wait_until(lambda: len(self.engines) == 1)
        return self.engines[0]

    @property
    def engines(self) -> list[int]:
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if MODULE in child.cmdline():  # that of one that has ended is empty
                    found.append(int(child.pid))
        return found

    def crash(self) -> int:
        """Kills the engine's process; returns its id."""
        engine = self.engine
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: gone(engine))
        return engine

    def wait_for(self, **expected: int) -> None:
        """Returns once so many requests are running, or waiting, in a process of the engine's that serves."""

        def there() -> bool:
            queue = self.get("/laser/queue").json()
            serves = self.get("/health").json()["status"] == "ok"
            return serves and all(queue[name] == value for name, value in expected.items())

        wait_until(there)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", trust_env=False, timeout=WAIT_S)

    def post(self) -> int:
        return httpx.post(
            f"{self.url}/v1/chat/completions", json=chat(max_tokens=4), trust_env=False, timeout=WAIT_S
        ).status_code


@pytest.fixture(scope="module")
def served(endless_model: Path) -> Iterator[Served]:
    options = ("--max-batch", str(AT_ONCE), "--cells", str(ENDLESS_CELLS), "--no-early-exit", "--no-loop-detection")
    with serving("--model", endless_model, *options, apart=True) as (process, ready):
        yield Served(process, url_of(ready))


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_killed_under_streams_it_is_started_again_and_each_client_gets_an_error_or_its_reply(served: Served) -> None:
    streams = [Stream(served.url) for _ in range(STREAMS)]
    wait_until(lambda: sum(stream.begun for stream in streams) == AT_ONCE)
    running, waiting = [s for s in streams if s.begun], [s for s in streams if not s.begun]
    first = served.engine
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: all(stream.over for stream in running))
    for stream in running:
        assert stream.error is not None
        assert stream.error["code"] == "unavailable"
        assert "has ended by itself (SIGKILL)" in stream.error["message"]
        assert "may be sent again" in stream.error["message"]
    wait_until(lambda: all(stream.begun for stream in waiting))  # sent again to the new process
    assert served.engine != first
    health = served.get("/health")
    assert (health.status_code, health.json()["status"], health.json()["restarts"]) == (200, "ok", 1)
    assert served.get("/ready").json() == {"status": "ready"}
    assert "laser_engine_restarts 1.0" in served.get("/metrics").text
    for stream in waiting:
        stream.leave.set()
    wait_until(lambda: served.get("/laser/queue").json()["running"] == 0)
    assert served.post() == 200


def test_running_in_two_crashes_a_request_fails_with_its_own_error_and_three_make_the_server_not_ready(
    endless_model: Path,
) -> None:
    """The requests write line breaks alone, of which no client is told: they are sent again as long as that is safe."""
    (line,) = load_chat_model(endless_model).tokenizer.encode("\n\n")
    options = ("--max-batch", str(AT_ONCE), "--cells", str(ENDLESS_CELLS), "--no-early-exit", "--no-loop-detection")
    with serving("--model", endless_model, *options, apart=True) as (process, ready):
        server = Served(process, url_of(ready))
        guilty = [Stream(server.url, biases={line: 100.0}) for _ in range(AT_ONCE)]
        server.wait_for(running=AT_ONCE)
        innocent = Stream(server.url)
        server.wait_for(running=AT_ONCE, waiting=1)
        first = server.crash()
        server.wait_for(running=AT_ONCE, waiting=1)  # all are sent again, in the order of their coming
        assert server.get("/ready").status_code == 200
        second = server.crash()
        wait_until(lambda: all(stream.over for stream in guilty))
        for stream in guilty:
            assert stream.error is not None
            assert "has ended twice while this request ran" in stream.error["message"]
            assert "sent again" not in stream.error["message"]
        wait_until(lambda: innocent.begun)
        crashes = [first, second, *(server.crash() for _ in range(3))]  # the later ones while they still load
        wait_until(lambda: innocent.over)
        assert innocent.error is not None
        assert "may be sent again" in innocent.error["message"]  # a part of its reply had come
        assert len(set(crashes)) == len(crashes)
        wait_until(lambda: server.get("/ready").json() == {"status": "failing"})
        assert server.get("/ready").status_code == 503
        assert server.post() == 200  # it waits for a process that serves
        assert server.get("/health").json()["restarts"] == len(crashes)


def test_stopped_it_is_told_and_loses_nothing(served: Served) -> None:
    stream = Stream(served.url)
    wait_until(lambda: stream.begun)
    engine = served.engine
    os.kill(engine, signal.SIGSTOP)
    try:
        wait_until(lambda: "has not answered for" in (served.get("/health").json()["trouble"] or ""))
        wait_until(lambda: "has not answered" in str(served.get("/laser/status").json()["problems"]))
    finally:
        os.kill(engine, signal.SIGCONT)
    seen = len(stream.events)
    wait_until(lambda: len(stream.events) > seen + 10)
    wait_until(lambda: served.get("/health").json()["trouble"] is None)
    assert served.engine == engine
    stream.leave.set()


def test_the_server_killed_its_engine_is_gone(served: Served) -> None:
    """The last test of this module that uses the server."""
    engine = served.engine
    served.process.kill()
    served.process.wait(WAIT_S)
    wait_until(lambda: gone(engine), timeout_s=20.0)


def test_told_to_end_both_drain(endless_model: Path) -> None:
    options = ("--model", endless_model, "--cells", str(ENDLESS_CELLS), "--no-early-exit", "--no-loop-detection")
    with serving(*options, apart=True) as (process, ready):
        server = Served(process, url_of(ready))
        engine, stream = server.engine, Stream(server.url, max_tokens=2000)
        wait_until(lambda: stream.begun)
        for pid in (process.pid, engine):  # as a supervisor does it
            os.kill(pid, signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
        wait_until(lambda: stream.over)
        assert stream.error is None
        wait_until(lambda: gone(engine), timeout_s=20.0)


def test_while_it_loads_the_port_answers_and_a_signal_ends_both(endless_model: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "laser", "serve", "--port", str(port), "--model", str(endless_model)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        server, seen = Served(process, f"http://127.0.0.1:{port}"), []

        def answers() -> bool:
            with suppress(httpx.ConnectError):
                seen.append(server.get("/health").json())
            return bool(seen)

        try:
            wait_until(answers)
            assert seen[0]["status"] == "starting"
            assert seen[0]["loading"] in ("libraries", "tokenizer", "policy", "weights")
            ready = server.get("/ready")
            assert (ready.status_code, ready.json()["status"]) == (503, "starting")
            engine = server.engine
            process.terminate()
            assert process.wait(WAIT_S) == 0
            wait_until(lambda: gone(engine), timeout_s=20.0)
        finally:
            process.kill()
