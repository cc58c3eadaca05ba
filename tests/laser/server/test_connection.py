"""Bare sockets: what the protocol refuses, answers that clients get to read, and clients that leave or only listen."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from laser.server.telemetry.logs import FIELDS
from tests.support.live_server import ENDLESS, WAIT_S, LiveServer, chat, wait_until

CHAT = "/v1/chat/completions"


@contextmanager
def connected(server: LiveServer) -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as connection:
        yield connection


def head(*lines: str, method: str = "POST", path: str = CHAT, version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "host: localhost", *lines, "", ""]).encode()


def request(path: str = CHAT, version: str = "1.1", **body: object) -> bytes:
    data = json.dumps(body).encode()
    told = head("content-type: application/json", f"content-length: {len(data)}", path=path, version=version)
    return told + data


def received(connection: socket.socket) -> bytes:
    """Everything until the server ends the connection."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def answers(data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of each whole answer, without those that only say to go on."""
    found = []
    while data:
        top, _, data = data.partition(b"\r\n\r\n")
        status, *lines = top.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", "0"))
        body, data = data[:size], data[size:]
        if status.split()[1] != "100":
            found.append((int(status.split()[1]), headers, body))
    return found


def message(answer: tuple[int, dict[str, str], bytes]) -> str:
    return str(json.loads(answer[2])["error"]["message"])


# --- what is refused before it is a request


@pytest.mark.parametrize("digits", ["9" * 20, "0" * 5000, "0" * 5000 + "7", "9" * 5000])
def test_a_length_of_many_digits_is_a_wrong_request(server: LiveServer, digits: str) -> None:
    with connected(server) as connection:
        connection.sendall(head(f"content-length: {digits}"))
        (answer,) = answers(received(connection))
    assert answer[0] == 400


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (head("content-length: -1"), 400),
        (head("content-length: 1", "content-length: 2"), 400),
        (head("x: " + "y" * 70_000), 431),
        (head("transfer-encoding: chunked") + b"zz\r\n", 400),
    ],
)
def test_what_the_protocol_refuses_has_an_id_and_is_counted_and_logged(
    server: LiveServer, caplog: pytest.LogCaptureFixture, sent: bytes, status: int
) -> None:
    def counted() -> float:
        label = f'laser_http_responses_total{{path="other",status="{status}"}} '
        lines = httpx.get(f"{server.url}/metrics", trust_env=False).text.splitlines()
        return next((float(line.removeprefix(label)) for line in lines if line.startswith(label)), 0.0)

    before = counted()
    with caplog.at_level(logging.INFO, logger="laser.gate"), connected(server) as connection:
        connection.sendall(sent)
        (answer,) = answers(received(connection))
        name = answer[1]["x-request-id"]
        wait_until(lambda: any(getattr(each, FIELDS, {}).get("request_id") == name for each in caplog.records))
    assert answer[0] == status
    assert len(name) == 32
    assert json.loads(answer[2])["error"]["type"] == "invalid_request_error"
    wait_until(lambda: counted() == before + 1)


def test_a_refused_request_keeps_its_own_id(server: LiveServer) -> None:
    with connected(server) as connection:
        connection.sendall(head("x-request-id: trace-9", "content-length: " + "9" * 30))
        (answer,) = answers(received(connection))
    assert (answer[0], answer[1]["x-request-id"]) == (400, "trace-9")


def test_nonsense_behind_a_request_is_refused_after_its_answer(narrow: LiveServer) -> None:
    with connected(narrow) as connection:
        connection.sendall(request(**chat(max_tokens=64)) + b"nonsense\r\n\r\n")
        first, second = answers(received(connection))
    assert (first[0], second[0]) == (200, 400)
    assert json.loads(first[2])["choices"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "gzip, br", "x" * 500])
def test_a_compressed_body_is_refused_by_name(server: LiveServer, encoding: str) -> None:
    body = gzip.compress(json.dumps(chat()).encode())
    headers = {"content-type": "application/json", "content-encoding": encoding}
    response = httpx.post(server.url + CHAT, content=body, headers=headers, trust_env=False)
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_content_encoding")
    assert response.json()["error"]["message"].startswith(f"the Content-Encoding is '{encoding[:70]}")
    assert len(response.json()["error"]["message"]) < 200


def test_a_body_that_is_as_it_is_may_say_so(server: LiveServer) -> None:
    headers = {"content-encoding": "identity"}
    response = httpx.post(server.url + CHAT, json=chat(max_tokens=4), headers=headers, trust_env=False, timeout=WAIT_S)
    assert response.status_code == 200


# --- answers that clients get to read


@pytest.mark.parametrize("chunked", [False, True], ids=["stated", "chunked"])
@pytest.mark.parametrize("size", [5 * 1024 * 1024, 40 * 1024 * 1024])
def test_a_client_that_sends_too_much_gets_to_read_so(server: LiveServer, size: int, chunked: bool) -> None:
    """It sends all of its body before it reads, as most clients do."""
    part = b"x" * 65536
    with connected(server) as connection:
        connection.sendall(head("transfer-encoding: chunked" if chunked else f"content-length: {size}"))
        for _ in range(size // len(part)):
            connection.sendall(b"10000\r\n" + part + b"\r\n" if chunked else part)
        (answer,) = answers(received(connection))
    assert answer[0] == 413
    assert "must have at most 4194304 bytes" in message(answer)


def test_who_sends_without_end_is_cut_off(server: LiveServer) -> None:
    def flood() -> None:
        for _ in range(200):
            connection.sendall(b"x" * (1 << 20))

    with connected(server) as connection:
        connection.sendall(head("content-length: 999999999999"))
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            flood()


@pytest.mark.parametrize("path", ["/health", "/v1/models"])
def test_a_client_that_only_listens_gets_its_answer(server: LiveServer, path: str) -> None:
    for version in ("1.0", "1.1"):
        with connected(server) as connection:
            connection.sendall(head(method="GET", path=path, version=version))
            connection.shutdown(socket.SHUT_WR)
            (answer,) = answers(received(connection))
        assert answer[0] == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", "/tokenize"])
def test_a_client_that_only_listens_gets_its_reply(narrow: LiveServer, path: str) -> None:
    body = chat(max_tokens=200) if path == CHAT else {"input" if path.endswith("responses") else "prompt": "x"}
    with connected(narrow) as connection:
        connection.sendall(request(path, **body))
        connection.shutdown(socket.SHUT_WR)
        (answer,) = answers(received(connection))
    assert answer[0] == 200


def test_a_client_that_only_listens_gets_its_stream(narrow: LiveServer) -> None:
    with connected(narrow) as connection:
        connection.sendall(request(**chat(max_tokens=200, stream=True)))
        connection.shutdown(socket.SHUT_WR)
        data = received(connection)
    assert b"data: [DONE]" in data


def test_a_client_that_only_listens_gets_lines_of_json_and_no_comments_between_them(narrow: LiveServer) -> None:
    asked = {"messages": chat()["messages"], "options": {"num_predict": 200}}
    with connected(narrow) as connection:
        connection.sendall(request("/api/chat", **asked))
        connection.shutdown(socket.SHUT_WR)
        _, _, data = received(connection).partition(b"application/x-ndjson")
    chunks = data.partition(b"\r\n\r\n")[2].split(b"\r\n")[1::2]
    lines = b"".join(chunks).splitlines()
    assert [json.loads(line)["done"] for line in lines] == [False] * (len(lines) - 1) + [True]


def test_clients_that_only_listen_get_all_answers_to_what_they_sent_at_once(narrow: LiveServer) -> None:
    with connected(narrow) as connection:
        connection.sendall(request(**chat(max_tokens=32)) * 3)
        connection.shutdown(socket.SHUT_WR)
        statuses = [answer[0] for answer in answers(received(connection))]
    assert statuses == [200] * 3


def test_a_client_whose_body_is_cut_off_gets_nothing_and_harms_nobody(narrow: LiveServer) -> None:
    with connected(narrow) as connection:
        connection.sendall(head("content-length: 500", "content-type: application/json") + b"{")
        connection.shutdown(socket.SHUT_WR)
        assert received(connection) == b""


# --- clients that leave


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("behind", [0, 1, 3])
def test_a_client_that_leaves_requests_behind_frees_them_all(narrow: LiveServer, stream: bool, behind: int) -> None:
    narrow.wait_for_load(running=0, waiting=0)
    with connected(narrow) as connection:
        connection.sendall(request(**chat(max_tokens=ENDLESS, stream=stream)) * (1 + behind))
        narrow.wait_for_load(running=1)
    narrow.wait_for_load(running=0, waiting=0, cells_reserved=0)  # within seconds; a whole reply takes minutes


def test_a_reply_behind_an_answered_request_is_freed_with_its_client(narrow: LiveServer) -> None:
    with connected(narrow) as connection:
        endless = request(**chat(max_tokens=ENDLESS))
        connection.sendall(request(**chat(max_tokens=8)) + endless + endless)
        assert b"200" in connection.recv(65536)
        narrow.wait_for_load(running=1)
    narrow.wait_for_load(running=0, waiting=0, cells_reserved=0)


def test_a_client_that_first_only_listens_and_then_leaves_is_noticed(narrow: LiveServer) -> None:
    with connected(narrow) as connection:
        connection.sendall(request(**chat(max_tokens=ENDLESS)))
        connection.shutdown(socket.SHUT_WR)
        narrow.wait_for_load(running=1)
        time.sleep(0.5)
        assert narrow.load.running == 1  # it may still read
    narrow.wait_for_load(running=0, cells_reserved=0)


def test_an_old_client_that_leaves_is_noticed(narrow: LiveServer) -> None:
    with connected(narrow) as connection:
        connection.sendall(request(version="1.0", **chat(max_tokens=ENDLESS)))
        narrow.wait_for_load(running=1)
    narrow.wait_for_load(running=0, cells_reserved=0)


def test_many_that_only_listen_are_all_answered(server: LiveServer) -> None:
    statuses: list[int] = []

    def one() -> None:
        with connected(server) as connection:
            connection.sendall(request(**chat(max_tokens=24)))
            connection.shutdown(socket.SHUT_WR)
            statuses.extend(answer[0] for answer in answers(received(connection)))

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert statuses == [200] * 12
