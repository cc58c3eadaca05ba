"""Who gets in: keys, ids, sizes, and what the log says of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from laser.cli.main import main
from laser.server.api.errors import Unauthorized
from laser.server.api.shape import event
from laser.server.app import create_app
from laser.server.config import ServeConfig
from laser.server.keys import KeyRing
from laser.server.service import Service
from laser.server.telemetry.logs import FIELDS, JsonFormatter, TextFormatter
from models.files.strict_yaml import ConfigError
from tests.support.live_server import ENDLESS, ENDLESS_CELLS, WAIT_S, LiveServer, chat, running, wait_until

ALICE, BOB, ROOT = "sk-alice-0001", "sk-bob-00002", "sk-root-00003"
KEYS = f"""\
keys:
  - {{name: alice, key: {ALICE}, weight: 2}}
  - {{name: bob, sha256: {hashlib.sha256(BOB.encode()).hexdigest()}}}
  - {{name: root, key: {ROOT}, admin: true}}
"""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys.yaml"
    file.write_text(KEYS)
    return file


@pytest.fixture(scope="module")
def browsed(random_model: Path) -> Iterator[LiveServer]:
    """A server without keys that has a name, and that one web page may use."""
    with running(
        ServeConfig(model=random_model, allow_host=("box.lan",), allow_origin=("https://chat.example",))
    ) as live:
        yield live


@pytest.fixture(scope="module")
def locked(endless_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that wants keys, and takes small bodies only."""
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    file.write_text(KEYS)
    config = ServeConfig(
        model=endless_model,
        name="locked",
        keys=file,
        max_body=2048,
        cells=ENDLESS_CELLS,
        early_exit=False,
        loop_detection=False,
    )
    with running(config) as live:
        yield live


def ask(server: LiveServer, key: str | None, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.post(server.url + path, json=body or chat(max_tokens=4), headers=headers, trust_env=False, timeout=30)


# --- keys


@pytest.mark.parametrize("key", [ALICE, BOB, ROOT])
def test_a_known_key_is_served(locked: LiveServer, key: str) -> None:
    assert ask(locked, key).status_code == 200


@pytest.mark.parametrize(("key", "told"), [(None, "a key is needed"), ("sk-mallory", "the key is not known here")])
def test_no_key_and_a_wrong_one_are_refused(locked: LiveServer, key: str | None, told: str) -> None:
    response = ask(locked, key)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert told in response.json()["error"]["message"]
    assert response.headers["www-authenticate"] == "Bearer"
    assert "sk-mallory" not in response.text
    metrics = httpx.get(f"{locked.url}/metrics", headers={"Authorization": f"Bearer {ROOT}"}, trust_env=False).text
    counted = re.search(r'laser_http_responses_total{path="/v1/chat/completions",status="401"} (\d+)', metrics)
    assert counted is not None
    assert int(counted[1]) > 0


@pytest.mark.parametrize("path", ["/health", "/ready", "/version"])
def test_whether_it_lives_is_told_to_anybody(locked: LiveServer, path: str) -> None:
    assert httpx.get(locked.url + path, trust_env=False).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/laser/queue", "/laser/controller", "/openapi.json", "/x"])
def test_all_else_needs_a_key(locked: LiveServer, path: str) -> None:
    assert httpx.get(locked.url + path, trust_env=False).status_code == 401


@pytest.mark.parametrize("key", [ROOT, ALICE], ids=["the admin", "the owner"])
def test_a_running_thought_is_its_owners_and_the_admins_to_end(locked: LiveServer, key: str) -> None:
    url, path = f"{locked.url}/v1/chat/completions", "/v1/chat/completions/control"
    body, headers = chat(stream=True, max_tokens=ENDLESS), {"authorization": f"Bearer {ALICE}"}
    with httpx.stream("POST", url, json=body, headers=headers, trust_env=False, timeout=WAIT_S) as response:
        lines = (line for line in response.iter_lines() if line)
        name = json.loads(next(lines).removeprefix("data: "))["id"]
        assert "reasoning" in next(lines)  # the thought has begun
        refused = ask(locked, BOB, path, id=name, action="reasoning_end")
        assert (refused.status_code, refused.json()["error"]["type"]) == (403, "permission_error")
        ended = ask(locked, key, path, id=name, action="reasoning_end")
        assert (ended.status_code, ended.json()["ended"]) == (200, True)
        assert list(lines)[-1] == "data: [DONE]"


def test_keys_change_while_serving_and_a_bad_file_changes_nothing(keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    ring = KeyRing(keys, lambda: now, start=lambda work: work())
    assert ring.caller(f"Bearer {ALICE}").weight == 2.0
    keys.write_text(KEYS.replace(ALICE, "sk-alice-another-9999"))
    assert ring.caller(f"bearer {ALICE}").name == "alice"  # not looked at again yet
    now = 2.0
    with pytest.raises(Unauthorized):
        ring.caller(f"Bearer {ALICE}")
    assert ring.caller("Bearer sk-alice-another-9999").name == "alice"
    keys.write_text("keys: [{nam: x}]")
    now = 4.0
    assert ring.caller("Bearer sk-alice-another-9999").name == "alice"
    assert "the former keys stay in force" in caplog.text
    assert "unknown key in `keys[0]`, not shown; did you mean `name`?" in caplog.text
    keys.unlink()
    now = 6.0
    assert ring.caller(f"Bearer {BOB}").name == "bob"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("keys: []", "keys has 0 entries, must have at least 1"),
        ("", "`keys` is missing"),
        ("keys: [{name: a}]", "`keys[0]`: must have either key or sha256"),
        ("keys: [{name: a, key: short}]", "`keys[0]`: key has 5 characters, must be at least 8"),
        ("keys: [{name: a, sha256: abc}]", "`keys[0]`: sha256 must be 64 hexadecimal digits"),
        ("keys: [{name: a, key: change-me-too}]", "`keys[0]`: key is an example that everybody knows"),
        ("keys: [{name: a, key: aaaaaaaa, weight: 0}]", "`keys[0]`: weight is 0.0, must be finite and above 0"),
        (
            "keys: [{name: a, key: aaaaaaaa}, {name: a, key: bbbbbbbb}]",
            "keys[0] and keys[1] have the same name, must differ",
        ),
        (
            "keys: [{name: a, key: aaaaaaaa}, {name: b, key: aaaaaaaa}]",
            "keys[0] and keys[1] are the same key, must differ",
        ),
    ],
)
def test_a_key_file_that_cannot_be_is_refused(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        KeyRing(file, lambda: 0.0)
    assert told in str(refusal.value)
    assert "keys.yaml" in str(refusal.value)
    assert "change-me" not in str(refusal.value)


def test_the_published_keys_open_nothing() -> None:
    with pytest.raises(ConfigError, match=r"`keys\[0\]`: key is an example that everybody knows"):
        KeyRing(Path("configs/keys.yaml"), lambda: 0.0)


@pytest.mark.slow
def test_ask_brings_a_key(locked: LiveServer) -> None:
    def asked(*options: str, **env: str) -> Result:
        return CliRunner().invoke(main, ["ask", "--url", locked.url, *options, "What is 1 + 1?"], env=env)

    assert asked().output == f"Error: {locked.url} wants a key: give it with --key or in LASER_KEY\n"
    assert "does not take this key: the key is not known here" in asked("--key", "sk-mallory").output
    assert asked("--key", ALICE).exit_code == 0
    assert asked(LASER_KEY=BOB).exit_code == 0


# --- ids and sizes


def test_a_request_keeps_its_id_and_gets_one_where_it_has_none(server: LiveServer) -> None:
    def told(**headers: str) -> str:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(f"{server.url}/health", headers=names, trust_env=False).headers["x-request-id"]

    assert told(x_request_id="trace-7") == "trace-7"
    assert len({told(), told(), told(x_request_id="not visible"), told(x_request_id="x" * 129)}) == 4


@pytest.mark.parametrize("chunked", [False, True], ids=["stated", "chunked"])
def test_a_body_that_is_too_large_is_refused(locked: LiveServer, chunked: bool) -> None:
    body = json.dumps(chat(user="x" * 3000)).encode()
    content: Any = iter([body[:1000], body[1000:]]) if chunked else body
    headers = {"authorization": f"Bearer {ALICE}", "content-type": "application/json"}
    url = f"{locked.url}/v1/chat/completions"
    response = httpx.post(url, content=content, headers=headers, trust_env=False)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")
    assert "must have at most 2048 bytes" in response.json()["error"]["message"]


def test_who_shows_no_key_sends_no_large_body(locked: LiveServer, server: LiveServer) -> None:
    for live, size, status in ((locked, 5000, 413), (server, 5000, 413), (server, 10, 405)):
        response = httpx.post(f"{live.url}/health", content=b"x" * size, trust_env=False)
        assert response.status_code == status


def test_a_failure_of_the_server_keeps_the_requests_id(server: LiveServer) -> None:
    app = create_app(Service(server.deployment))

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("a secret")

    async def got() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/fails", headers={"x-request-id": "trace-8"})

    response = asyncio.run(got())
    assert (response.status_code, response.headers["x-request-id"]) == (500, "trace-8")
    assert response.json()["error"]["message"] == "the server failed: RuntimeError"


def test_no_character_of_an_event_ends_its_line() -> None:
    text = "a\x85b\u2028c\u2029d\x0be\r\nf\x1cg"
    (line,) = event({"text": text}).decode().rstrip("\n").splitlines()
    assert json.loads(line.removeprefix("data: ")) == {"text": text}


# --- web pages


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:8000", 200), ("Box.lan:1", 200), ("evil.example:8000", 403)],
)
def test_without_keys_the_server_is_asked_by_its_own_names_only(browsed: LiveServer, host: str, status: int) -> None:
    response = httpx.get(f"{browsed.url}/v1/models", headers={"host": host}, trust_env=False)
    assert response.status_code == status
    if status == 403:
        assert (
            "the Host is 'evil.example', must be 127.0.0.1 or [::1] or box.lan" in response.json()["error"]["message"]
        )


def test_where_keys_are_needed_any_name_will_do(locked: LiveServer) -> None:
    headers = {"host": "proxy.example", "authorization": f"Bearer {BOB}"}
    assert httpx.get(f"{locked.url}/v1/models", headers=headers, trust_env=False).status_code == 200


def test_a_web_page_may_use_the_api_where_that_is_allowed(browsed: LiveServer, server: LiveServer) -> None:
    url = f"{browsed.url}/v1/chat/completions"
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for origin, allowed in (("https://chat.example", True), ("https://evil.example", False)):
        asking = httpx.options(url, headers={"origin": origin, **asked}, trust_env=False)
        assert (asking.status_code == 200) is allowed
        reply = httpx.post(url, json=chat(max_tokens=4), headers={"origin": origin}, trust_env=False, timeout=30)
        assert (reply.headers.get("access-control-allow-origin") == origin) is allowed
        assert "x-request-id" in reply.headers["access-control-expose-headers"].lower()
    headers = {"origin": "https://chat.example"}
    reply = httpx.post(f"{server.url}/v1/chat/completions", json=chat(max_tokens=4), headers=headers, trust_env=False)
    assert "access-control-allow-origin" not in reply.headers


# --- the log


def logged(caplog: pytest.LogCaptureFixture, wanted: Callable[[logging.LogRecord], bool]) -> logging.LogRecord:
    """The record that is wanted: it comes once the reply has been sent."""
    wait_until(lambda: any(map(wanted, list(caplog.records))))
    return next(filter(wanted, caplog.records))


def test_the_log_tells_of_a_request_and_not_of_what_was_said(
    locked: LiveServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="laser.gate"):
        secret = [{"role": "user", "content": "my secret"}]
        response = ask(locked, BOB, messages=secret, max_tokens=4)
        name = response.headers["x-request-id"]
        record = logged(caplog, lambda record: getattr(record, FIELDS, {}).get("request_id") == name)
    fields = getattr(record, FIELDS)
    assert fields["key"] == "bob"
    assert fields["reply"] == response.json()["id"]
    assert fields["ms"] > 0
    written = [form.format(record) for record in caplog.records for form in (JsonFormatter(), TextFormatter())]
    assert not [line for line in written if "secret" in line or BOB in line]


def test_the_log_tells_that_a_client_has_gone(narrow: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="laser.gate"):
        url, body = f"{narrow.url}/v1/chat/completions", chat(stream=True, max_tokens=ENDLESS)
        with httpx.stream("POST", url, json=body, trust_env=False, timeout=30) as response:
            next(response.iter_lines())
        name = response.headers["x-request-id"]
        record = logged(caplog, lambda record: getattr(record, FIELDS, {}).get("request_id") == name)
    assert getattr(record, FIELDS)["finish_reason"] == "abandoned"


def test_bodies_are_logged_where_that_is_asked_for(random_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(ServeConfig(model=random_model, log_bodies=True)) as live, caplog.at_level(logging.INFO, "laser.gate"):
        live.post(messages=[{"role": "user", "content": "no secret"}], max_tokens=4)
        logged(caplog, lambda record: "no secret" in getattr(record, FIELDS, {}).get("body", ""))


def test_a_record_is_one_json_object_or_one_line_to_read() -> None:
    record = logging.makeLogRecord({"name": "laser.gate", "levelname": "INFO", "msg": "GET /x %d", "args": (200,)})
    setattr(record, FIELDS, {"ms": 1.5, "key": "ä\n"})
    said = json.loads(JsonFormatter().format(record))
    assert (said["message"], said["ms"], said["key"], said["level"]) == ("GET /x 200", 1.5, "ä\n", "info")
    assert "\n" not in JsonFormatter().format(record)
    assert " INFO laser.gate: GET /x 200 ms=1.5" in TextFormatter().format(record)
    try:
        os.stat("/no/such/place")
    except OSError:
        record.exc_info = sys.exc_info()
    assert "No such file" in json.loads(JsonFormatter().format(record))["exception"]


def test_a_path_cannot_forge_a_line_of_the_log(server: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="laser.gate"):
        httpx.get(f"{server.url}/x%0AINFO%20laser.gate:%20forged%1B%5B2J%E2%80%A8y", trust_env=False)
        record = logged(caplog, lambda record: "forged" in record.getMessage())
    (line,) = TextFormatter().format(record).splitlines()
    assert "GET /x\\nINFO laser.gate: forged\\x1b[2J\\u2028y 404" in line
