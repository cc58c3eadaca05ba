"""Whatever comes passes the entrance: preflights of web pages, too; and names are compared as they are meant."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from laser.server.config import ServeConfig
from laser.server.entrance import host_name, origin_name
from laser.server.run import ServingError, listen
from laser.server.telemetry.logs import FIELDS
from tests.support.live_server import ENDLESS, WAIT_S, LiveServer, asking, running, wait_until

PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}


@pytest.fixture(scope="module")
def named(random_model: Path) -> Iterator[LiveServer]:
    """A server whose names and pages are written as people write them."""
    hosts = ("Box.LAN:8000", "fe80::1", "dotted.example.")
    origins = ("HTTPS://Chat.Example:443/", "http://Plain.example:80", "http://other.example:8080")
    with running(ServeConfig(model=random_model, allow_host=hosts, allow_origin=origins)) as live:
        yield live


def value(server: LiveServer, line: str) -> float:
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    return sum(float(each.rpartition(" ")[2]) for each in text.splitlines() if each.startswith(line))


def thought_tokens(server: LiveServer) -> int:
    """Tokens of the oldest running thought, as the dashboard shows them."""
    running = httpx.get(f"{server.url}/laser/status", trust_env=False).json()["running"]
    return max((each["thought_tokens"] for each in running), default=0)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Box.LAN", "box.lan"), ("box.lan:8000", "box.lan"), ("box.lan:", "box.lan"), ("box.lan.", "box.lan"),
        ("box.lan.:80", "box.lan"), ("[::1]:8000", "[::1]"), ("::1", "[::1]"), ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[FE80::1]", "[fe80::1]"), ("127.0.0.1:1", "127.0.0.1"), (" localhost ", "localhost"),
        ("[nonsense]", "[nonsense]"),
    ],
)  # fmt: skip
def test_a_host_has_one_name(given: str, name: str) -> None:
    assert host_name(given) == name
    assert host_name(name) == name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("https://Chat.Example", "https://chat.example"), ("https://chat.example:443", "https://chat.example"),
        ("http://chat.example:80/", "http://chat.example"), ("http://chat.example:443", "http://chat.example:443"),
        ("https://chat.example:80", "https://chat.example:80"), ("*", "*"), ("null", "null"),
    ],
)  # fmt: skip
def test_an_origin_has_one_name(given: str, name: str) -> None:
    assert origin_name(given) == name


@pytest.mark.parametrize("host", ["BOX.lan", "box.lan:9", "[FE80:0::1]:80", "dotted.example:1", "LocalHost.", "[::1]"])
def test_a_server_is_known_by_its_names_however_they_are_written(named: LiveServer, host: str) -> None:
    assert httpx.get(f"{named.url}/v1/models", headers={"host": host}, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://chat.example", "http://plain.example", "http://PLAIN.example:80", "http://other.example:8080"]
)
def test_a_page_is_known_by_its_origin_however_it_is_written(named: LiveServer, origin: str) -> None:
    asked = httpx.options(f"{named.url}/v1/models", headers={"origin": origin, **PREFLIGHT}, trust_env=False)
    assert asked.status_code == 200
    reply = httpx.get(f"{named.url}/v1/models", headers={"origin": origin}, trust_env=False)
    assert reply.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("origin", ["https://evil.example", "http://chat.example", "http://other.example"])
def test_other_pages_are_refused_and_this_is_counted_and_logged_with_an_id(
    named: LiveServer, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = value(named, 'laser_http_responses_total{path="other",status="400"}')
    headers = {"origin": origin, "x-request-id": f"page-{len(origin)}", **PREFLIGHT}
    with caplog.at_level(logging.INFO, logger="laser.gate"):
        refused = httpx.options(f"{named.url}/v1/models", headers=headers, trust_env=False)
        name = headers["x-request-id"]
        wait_until(lambda: any(getattr(each, FIELDS, {}).get("request_id") == name for each in caplog.records))
    assert (refused.status_code, refused.headers["x-request-id"]) == (400, name)
    assert value(named, 'laser_http_responses_total{path="other",status="400"}') == before + 1


def test_a_preflight_under_another_host_name_is_refused(named: LiveServer) -> None:
    headers = {"origin": "https://chat.example", "host": "evil.example", **PREFLIGHT}
    refused = httpx.options(f"{named.url}/v1/chat/completions", headers=headers, trust_env=False)
    assert refused.status_code == 403
    assert "the Host is 'evil.example'" in refused.json()["error"]["message"]


def test_a_page_gets_to_read_that_its_body_is_refused(named: LiveServer) -> None:
    headers = {"origin": "https://chat.example", "content-encoding": "gzip"}
    refused = httpx.post(f"{named.url}/v1/chat/completions", content=b"x", headers=headers, trust_env=False)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (415, headers["origin"])


@pytest.mark.parametrize("host", ["h" * 5000, "\x7f" * 500, "x:y:z" * 100])
def test_a_refused_host_is_repeated_in_part(named: LiveServer, host: str) -> None:
    refused = httpx.get(f"{named.url}/v1/models", headers={"host": host}, trust_env=False)
    assert len(refused.json()["error"]["message"]) < 400


# --- starting


def test_of_two_that_bind_one_port_only_one_listens() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(
            ServingError, match=rf"cannot listen on 127.0.0.1 port {port}: .*; choose another with --port"
        ):
            listen("127.0.0.1", port)


@pytest.mark.slow
def test_of_many_servers_started_at_once_one_serves_and_the_others_say_so_in_one_line(random_model: Path) -> None:
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "laser", "serve", "--port", str(port), "--model", str(random_model)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        wait_until(lambda: sum(each.poll() is not None for each in started) == 2, 120)
        (serving,) = [each for each in started if each.poll() is None]
        for ended in started:
            if ended is not serving:
                out, errors = ended.communicate(timeout=WAIT_S)
                assert (ended.returncode, out) == (1, "")
                assert errors.startswith(f"Error: cannot listen on 127.0.0.1 port {port}: ")
                assert len(errors.splitlines()) == 1
        assert serving.stdout is not None
        assert "is ready at" in serving.stdout.readline()
    finally:
        for each in started:
            each.terminate()
            each.communicate(timeout=WAIT_S)


# --- the rows of replies that nobody waited for


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_an_abandoned_reply_has_cost_is_counted(narrow: LiveServer, stream: bool) -> None:
    def rows(kind: str) -> float:
        return value(narrow, f'laser_token_rows_total{{kind="{kind}"}}')

    wait_until(lambda: thought_tokens(narrow) == 0)  # a look may be as old as the reply before
    prompt, reasoning = rows("prompt"), rows("reasoning")
    with asking(narrow, max_tokens=ENDLESS, stream=stream):
        narrow.wait_for_load(running=1)
        wait_until(lambda: thought_tokens(narrow) > 20)
    narrow.wait_for_load(running=0)
    wait_until(lambda: rows("reasoning") > reasoning + 20)
    assert rows("prompt") > prompt


def test_a_reply_that_was_left_while_it_waited_has_cost_nothing(narrow: LiveServer) -> None:
    with asking(narrow, max_tokens=ENDLESS, stream=True):
        narrow.wait_for_load(running=1)
        before = value(narrow, 'laser_token_rows_total{kind="prompt"}')
        gone = value(narrow, "laser_replies_abandoned_total")
        with asking(narrow):
            narrow.wait_for_load(running=1, waiting=1)
        wait_until(lambda: value(narrow, "laser_replies_abandoned_total") == gone + 1)
        assert value(narrow, 'laser_token_rows_total{kind="prompt"}') == before
    narrow.wait_for_load(running=0)


# --- a long message for the end of thoughts


def test_a_budget_message_that_leaves_no_room_is_the_field_at_fault(server: LiveServer) -> None:
    room = httpx.get(f"{server.url}/v1/models", trust_env=False).json()["data"][0]["max_model_len"]
    for message, more in (("1" * (room - 60), {}), ("1" * (room // 2), {"max_tokens": room - 200})):
        error = server.post(reasoning_budget_message=message, **more).json()["error"]
        assert (error["param"], error["code"]) == ("reasoning_budget_message", "context_length_exceeded")
        assert "must be at most" in error["message"]
    assert server.post(reasoning_budget_message="1" * 100, max_tokens=8).status_code == 200
