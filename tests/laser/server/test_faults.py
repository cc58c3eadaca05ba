"""Clients that send rubbish, half of something, nothing, or do not read: none of them harms the others."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from laser.server.config import ServeConfig
from laser.server.connection import MOST_HEAD, PatientProtocol
from tests.support.live_server import ENDLESS, ENDLESS_CELLS, WAIT_S, LiveServer, chat, running

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def brisk(endless_model: Path) -> Iterator[LiveServer]:
    """A server that waits for nobody for more than a second."""
    config = ServeConfig(model=endless_model, cells=ENDLESS_CELLS, idle_s=1.0, early_exit=False, loop_detection=False)
    with running(config) as live:
        yield live


@pytest.fixture(autouse=True)
def _still_serving(brisk: LiveServer) -> Iterator[None]:
    yield
    assert brisk.post(max_tokens=4).status_code == 200
    brisk.wait_for_load(running=0, waiting=0, cells_reserved=0)


def connect(server: LiveServer) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"HELO there\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 4096,
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 7\r\n\r\nhello",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /health HTTP/1.1\r\nbad header\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(brisk: LiveServer, rubbish: bytes) -> None:
    with connect(brisk) as connection:
        connection.sendall(rubbish)
        received = rest(connection)
    assert not received or b" 400 " in received.splitlines()[0]


def test_a_refusal_of_rubbish_has_openais_shape(brisk: LiveServer) -> None:
    with connect(brisk) as connection:
        connection.sendall(b"HELO there\r\n\r\n")
        body = rest(connection).split(b"\r\n\r\n", 1)[1]
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"GET /hea", HEAD, b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\nGET /hea"])
def test_a_connection_on_which_no_request_comes_is_closed(brisk: LiveServer, sent: bytes) -> None:
    with connect(brisk) as connection:
        connection.sendall(sent)
        received = rest(connection)  # ends only because the server ends it
    assert received.startswith(b"HTTP/1.1 200") == sent.startswith(b"GET /health ")


def test_blank_lines_keep_no_connection_open(brisk: LiveServer) -> None:
    with connect(brisk) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        received = connection.recv(65536)
        connection.sendall(b"\r\n")
        received += rest(connection)  # ends only because the server ends it
    assert received.startswith(b"HTTP/1.1 200")


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_wish_for_http_2_is_ignored(brisk: LiveServer, size: int, chunked: bool) -> None:
    """As Java's client utters it with every request."""
    body = json.dumps(chat(max_tokens=4)).encode()
    if chunked:
        sent = HEAD + H2C + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        sent = HEAD + H2C + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    sent += (HEALTH + H2C + b"\r\n") * 2 + HEALTH + H2C.replace(b"Upgrade, ", b"Upgrade, close, ") + b"\r\n"
    with connect(brisk) as connection:
        for start in range(0, len(sent), size):
            connection.sendall(sent[start : start + size])
        received = rest(connection)
    assert received.count(b"HTTP/1.1 200 OK") == 4
    assert b"chat.completion" in received


def test_a_head_that_wishes_for_http_2_is_bounded_and_read_strictly(brisk: LiveServer) -> None:
    for more, status in (
        (b"x: " + b"y" * MOST_HEAD + b"\r\n\r\n", b" 431 "),
        (b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", b" 400 "),
        (b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b" 400 "),
    ):
        with connect(brisk) as connection:
            connection.sendall(HEAD + H2C + more)
            assert status in rest(connection).splitlines()[0]


def test_a_body_behind_another_upgrade_is_refused_in_words(brisk: LiveServer) -> None:
    with connect(brisk) as connection:
        upgrade = b"connection: upgrade\r\nupgrade: websocket\r\n"
        connection.sendall(HEAD + upgrade + b"content-length: 2\r\n\r\n{}")
        received = rest(connection)
    assert b" 400 " in received.splitlines()[0]
    assert b"Upgrade is not supported" in received


def test_a_body_that_does_not_come_is_given_up(brisk: LiveServer) -> None:
    with connect(brisk) as connection:
        connection.sendall(HEAD + b'content-length: 500\r\n\r\n{"messages')
        received = rest(connection)
    assert b" 400 " in received.splitlines()[0]
    assert b"the body has not come within 1 s" in received


def test_a_truncated_body_is_nobodys_request(brisk: LiveServer) -> None:
    """Though what has come of it could be read as one."""
    body, before = json.dumps(chat()).encode(), brisk.deployment.loop.status().arrived
    for announced in (len(body) + 1, len(body) + 90):
        with connect(brisk) as connection:
            connection.sendall(HEAD + f"content-length: {announced}\r\n\r\n".encode() + body)
    assert brisk.post().status_code == 200
    assert brisk.deployment.loop.status().arrived == before + 1


def test_a_client_that_does_not_read_is_cut_off() -> None:
    """More than any buffer holds, to somebody who reads nothing: the application hears that the client has gone."""
    gone = asyncio.Event()

    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.is_set():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            if scope["state"].setdefault("listening", None) is None:
                scope["state"]["listening"] = asyncio.create_task(listen(receive))

    async def listen(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async def run() -> None:
        settings = uvicorn.Config(
            flood, host="127.0.0.1", port=0, http=PatientProtocol, ws="none", lifespan="off", timeout_keep_alive=1
        )
        server = uvicorn.Server(settings)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            await gone.wait()
        writer.close()
        assert len(await reader.read(1)) == 1  # it had begun
        server.should_exit = True
        await serving

    asyncio.run(run())


def test_idle_connections_keep_nobody_out(brisk: LiveServer) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(brisk)) for _ in range(200)]
        assert brisk.post(max_tokens=4).status_code == 200
        assert httpx.get(f"{brisk.url}/health", trust_env=False).status_code == 200
        assert [rest(connection) for connection in idle] == [b""] * 200  # closed by the server


def test_a_client_that_vanishes_behind_a_second_request_is_noticed(brisk: LiveServer) -> None:
    body = json.dumps(chat(stream=True, max_tokens=ENDLESS)).encode()
    whole = HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body
    with connect(brisk) as connection:
        connection.sendall(whole)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        brisk.wait_for_load(running=1)
    brisk.wait_for_load(running=0)  # within seconds; the whole reply takes minutes


def test_clients_that_vanish_at_every_stage_leave_nothing(brisk: LiveServer) -> None:
    body = json.dumps(chat(stream=True, max_tokens=200)).encode()
    whole = HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body
    for sent in range(1, len(whole), 23):
        with connect(brisk) as connection:
            connection.sendall(whole[:sent])
    for read in (0, 1, 200, 2000):
        with connect(brisk) as connection:
            connection.sendall(whole)
            received = 0
            while received < read:
                received += len(connection.recv(min(read - received, 256)))


HEADS = {"header": b"GET /health HTTP/1.1\r\nx-much: ", "url": b"GET /health?"}


@pytest.mark.parametrize("begin", HEADS.values(), ids=HEADS)
def test_a_head_without_end_is_refused(brisk: LiveServer, begin: bytes) -> None:
    with connect(brisk) as connection:
        connection.sendall(begin)
        for _ in range(MOST_HEAD // 4096):
            connection.sendall(b"x" * 4096)
        received = rest(connection)
    assert received.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    error = json.loads(received.split(b"\r\n\r\n", 1)[1])["error"]
    assert (error["code"], error["message"]) == ("headers_too_large", "URL and headers must have at most 65536 bytes")


def test_what_follows_a_body_without_end_is_refused(brisk: LiveServer) -> None:
    with connect(brisk) as connection:
        connection.sendall(b"POST /health HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        time.sleep(0.1)  # what comes with the head is not counted again
        connection.sendall(b"0\r\nx-much: ")
        for _ in range(1 + MOST_HEAD // 4096):
            connection.sendall(b"x" * 4096)
        received = rest(connection)
    assert b"HTTP/1.1 431" in received


def test_a_head_that_comes_whole_is_refused_as_well(brisk: LiveServer) -> None:
    """On a connection that has carried a request already, and with more than the limit in one piece."""
    with connect(brisk) as connection:
        small = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
        connection.sendall(small + small + b"GET /health HTTP/1.1\r\nx-much: " + b"x" * MOST_HEAD + b"\r\n\r\n")
        received = rest(connection)
    assert received.count(b"HTTP/1.1 200") <= 2
    assert b"HTTP/1.1 431" in received


def test_a_long_body_is_no_head(brisk: LiveServer) -> None:
    body = json.dumps(chat(max_tokens=4, user="x" * (4 * MOST_HEAD))).encode()
    with connect(brisk) as connection:
        for _ in range(2):
            connection.sendall(HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body)
            received = b""
            while not received.endswith(b"}}"):  # it may come in pieces
                received += connection.recv(65536)
            assert received.startswith(b"HTTP/1.1 200")
