"""`laser serve` as a service: it drains, it guards its address, it comes back after the worst."""

from __future__ import annotations

import json
import resource
import shlex
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from laser.cli.main import main
from tests.support.live_server import ENDLESS, ENDLESS_CELLS, WAIT_S, chat, wait_until
from tests.support.processes import errors, laser, serving, url_of

pytestmark = pytest.mark.slow


def status(url: str, path: str) -> int:
    return httpx.get(url + path, trust_env=False).status_code


def stream(url: str, **body: Any) -> Any:
    return httpx.stream(
        "POST", f"{url}/v1/chat/completions", json=chat(stream=True, **body), trust_env=False, timeout=WAIT_S
    )


def unprobed(model: Path, *options: str) -> Any:
    """A `laser serve` whose thoughts nothing but a request ends."""
    sizes = ("--cells", str(ENDLESS_CELLS), "--idle-s", "600")  # a test reads its stream when it has seen all else
    return serving("--model", model, *sizes, "--no-loop-detection", "--no-early-exit", *options)


def test_a_draining_server_ends_what_it_has_begun_and_takes_no_more(endless_model: Path) -> None:
    with unprobed(endless_model, "--max-batch", "1", "--drain-s", str(WAIT_S)) as (process, ready):
        url = url_of(ready)
        with stream(url, max_tokens=ENDLESS) as running, stream(url, max_tokens=30) as waiting:
            lines = running.iter_lines()
            name = json.loads(next(lines).removeprefix("data: "))["id"]
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: status(url, "/ready") == 503)
            assert status(url, "/health") == 200
            seen = httpx.get(f"{url}/laser/status", trust_env=False).json()["number"]
            wait_until(lambda: httpx.get(f"{url}/laser/status", trust_env=False).json()["number"] > seen)
            refused = httpx.post(f"{url}/v1/chat/completions", json=chat(), trust_env=False)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
            assert "retry-after" in refused.headers
            control = {"id": name, "action": "reasoning_end"}  # the thought would go on for minutes
            ended = httpx.post(f"{url}/v1/chat/completions/control", json=control, trust_env=False, timeout=WAIT_S)
            assert ended.json()["ended"]
            for rest in (list(lines), list(waiting.iter_lines())):
                assert rest[-2] == "data: [DONE]"
                assert json.loads(rest[-4].removeprefix("data: "))["choices"][0]["finish_reason"]
        assert process.wait(WAIT_S) == 0
        assert "Traceback" not in errors(process)


def test_a_drain_that_takes_too_long_ends_with_an_error_for_what_runs(endless_model: Path) -> None:
    serves = unprobed(endless_model, "--drain-s", "0.2")
    with serves as (process, ready), stream(url_of(ready), max_tokens=ENDLESS) as response:
        lines = response.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        rest = list(lines)
        assert "the server is shutting down" in rest[-4]
        assert rest[-2] == "data: [DONE]"
        assert process.wait(WAIT_S) == 0
        assert "replies under way have not ended within 0.2 s" in errors(process)


def test_a_killed_server_comes_back_on_the_same_port(endless_model: Path) -> None:
    with unprobed(endless_model) as (process, ready), stream(url_of(ready), max_tokens=ENDLESS) as response:
        lines = response.iter_lines()
        next(lines)
        process.kill()
        process.wait(WAIT_S)
        with pytest.raises(httpx.TransportError):
            list(lines)
    port = url_of(ready).rsplit(":", 1)[1]
    with serving("--model", endless_model, "--port", port, "--log-format", "json") as (process, again):
        assert url_of(again) == url_of(ready)
        reply = httpx.post(f"{url_of(again)}/v1/chat/completions", json=chat(), trust_env=False, timeout=WAIT_S)
        assert reply.json()["choices"][0]["message"]["content"]
        with socket.create_connection(("127.0.0.1", int(port)), timeout=WAIT_S) as connection:
            connection.sendall(b"HELO there\r\n\r\n")
            assert b" 400 " in connection.recv(1024)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
        records = [json.loads(line) for line in errors(process).splitlines()]
    assert "Invalid HTTP request received." in {record["message"] for record in records}
    (answered,) = [record for record in records if record["message"].startswith("POST")]
    assert answered["reply"] == reply.json()["id"]
    assert answered["request_id"] == reply.headers["x-request-id"]


def test_a_thousand_idle_connections_keep_nobody_out(random_model: Path, request: pytest.FixtureRequest) -> None:
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 1500:
        pytest.skip(f"a process may have {most} files open at most, 1500 are needed")
    request.addfinalizer(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (few, most)))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))  # as the server begins; it allows itself more
    with serving("--model", random_model) as (_, ready), ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        url = url_of(ready)
        port = int(url.rsplit(":", 1)[1])
        for _ in range(1000):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT_S))
        reply = httpx.post(f"{url}/v1/chat/completions", json=chat(), trust_env=False, timeout=WAIT_S)
        assert reply.json()["choices"][0]["message"]["content"]
        assert status(url, "/health") == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_are_not_served_by_accident(host: str) -> None:
    done = laser("serve", "--host", host, "--port", "0")
    assert done.returncode == 1
    assert f"host is {host}, which other machines can reach, but there are no keys" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_bad_key_file_is_one_line(random_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("keys: []\n")
    done = laser("serve", "--model", random_model, "--port", "0", "--keys", file)
    assert done.returncode == 1
    assert "keys has 0 entries, must have at least 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_hint_of_a_server_with_keys_works(random_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("keys: [{name: app, key: a-key-for-ask}]\n")
    with serving("--model", random_model, "--keys", file) as (_, ready):
        _, hint = ready.strip().split(" — with your key in LASER_KEY, try: laser ")
        done = CliRunner().invoke(main, shlex.split(hint), env={"LASER_KEY": "a-key-for-ask"})
    assert done.exit_code == 0, done.output
    assert "s\n" in done.output
