"""Whatever bytes come, the server answers in its own words and goes on. LASER_FUZZ=1000: that many of each kind."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laser.server.config import ServeConfig
from tests.support.engine_requests import search
from tests.support.live_server import WAIT_S, LiveServer, running

PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/tokenize", "/detokenize", "/v1/models", "/nope",
         "/v1/chat/completions/control", "/health", "/metrics", "/laser/queue", "/v1/messages",
         "/v1/messages/count_tokens", "/api/chat", "/api/generate", "/api/show"]  # fmt: skip
NAMES = ["messages", "prompt", "input", "content", "tokens", "instructions", "max_tokens", "temperature", "top_p",
         "top_k", "seed", "stop", "n", "stream", "model", "reasoning", "reasoning_effort", "reasoning_budget_message",
         "thinking", "chat_template_kwargs", "laser", "stream_options", "id", "action", "role", "type",
         "text", "system", "options", "num_predict", "tools", "tool_choice", "output_config", "think",
         "raw"]  # fmt: skip
VALUES = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["user", "assistant", "text", "none", "reasoning_end", "\ud800", "x" * 300, 10**400, 1e999])
)  # fmt: skip
DEEP = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
)
BODIES = st.dictionaries(st.sampled_from(NAMES), DEEP, max_size=6)
GOOD = json.dumps(
    {"messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x", "max_tokens": 2}
).encode()

CORPUS = [
    b"", b"{", b"[]", b"null", b'"', b"\xef\xbb\xbf" + GOOD, b"\xff\xfe{\x00}\x00", b"{}" * 3, b"[" * 100_000,
    b'{"a":' * 70 + b"1" + b"}" * 70, b'{"seed": 1' + b"0" * 5000 + b"}", b'{"max_tokens": 1e400, "prompt": "x"}',
    b'{"messages": [{"role": "user", "content": "\\ud800"}]}', b'{"prompt": "\\u0000", "max_tokens": 1}',
    b'{"messages": [' + b"0," * 3000 + b"0]}", b'{"prompt": [1e308]}', b'{"prompt": [-1, 99999999]}',
    b'{"laser": {"' + b"x" * 5000 + b'": 1}, "prompt": "x", "input": "x", "messages": [{"role": "user"}]}',
    b'{"tokens": [' + b"9" * 4000 + b"]}", b'{"input": [{"type": "' + b"y" * 5000 + b'"}]}',
    b'{"n": "' + b"z" * 5000 + b'", "prompt": "x", "messages": [], "input": "x"}',
    b'{"id": "' + b"q" * 900 + b'", "action": "reasoning_end"}', b'{"model": "' + b"m" * 900 + b'", "prompt": "x"}',
]  # fmt: skip
RAW = [
    b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET http://x/ HTTP/1.1\r\nhost: x\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: " + b"1" * 6000 + b"\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: +1\r\n\r\nx",
    b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"GET /%ff%fe%00 HTTP/1.1\r\nhost: localhost\r\n\r\n", b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: " + b"h" * 5000 + b"\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
]  # fmt: skip


@pytest.fixture(scope="module")
def brief(random_model: Path) -> Iterator[LiveServer]:
    """A server whose replies are short unless a request says otherwise."""
    with running(ServeConfig(model=random_model, default_max_tokens=2, cells=4096)) as live:
        yield live
        assert httpx.get(f"{live.url}/health", trust_env=False).status_code == 200
        live.wait_for_load(running=0, waiting=0, cells_reserved=0)


def exchanged(server: LiveServer, sent: bytes) -> bytes:
    """What comes back until the server ends the connection, for a client that has said all it will say."""
    host, port = server.url.removeprefix("http://").split(":")
    parts = []
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                parts.append(part)
        except (ConnectionResetError, BrokenPipeError):
            assert parts or len(sent) > 65536
    return b"".join(parts)


def check(answer: bytes, *, must: bool = True) -> None:
    """Fails unless an answer is whole, is no failure of the server, and repeats little of what was sent."""
    statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert statuses or not must, answer[:200]
    assert not [status for status in statuses if status.startswith(b"5")], answer[:1000]
    for line in re.findall(rb'\{"(?:error|wrong|type)":.*\}', answer):
        told = json.loads(line).get("error", "")  # an object for OpenAI's and Anthropic's clients, a text for Ollama's
        message = told if isinstance(told, str) else told["message"]
        assert len(message) < 700
        assert not re.search(r"(.)\1{100}", message), message


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("body", CORPUS, ids=lambda body: ascii(body[:24]))
def test_every_body_of_the_corpus_gets_an_answer(brief: LiveServer, body: bytes) -> None:
    for path in (*PATHS[:6], "/v1/messages", "/api/chat"):
        check(exchanged(brief, post(path, body)))


@pytest.mark.parametrize("sent", RAW, ids=lambda sent: ascii(sent[:40]))
def test_every_head_of_the_corpus_gets_an_answer_or_an_end(brief: LiveServer, sent: bytes) -> None:
    check(exchanged(brief, sent), must=False)


@given(path=st.sampled_from(PATHS), said=BODIES)
@search(150)
def test_any_json_gets_an_answer(brief: LiveServer, path: str, said: Any) -> None:
    check(exchanged(brief, post(path, json.dumps(said).encode())))


@given(path=st.sampled_from(PATHS), cut=st.tuples(st.integers(0, 90), st.integers(0, 10)), new=st.binary(max_size=12))
@search(100)
def test_any_bytes_in_a_body_get_an_answer(brief: LiveServer, path: str, cut: tuple[int, int], new: bytes) -> None:
    start, length = cut
    check(exchanged(brief, post(path, GOOD[:start] + new + GOOD[start + length :])))


@given(
    cut=st.tuples(st.integers(0, 140), st.integers(0, 8)), new=st.binary(max_size=8) | st.text("\r\n :0", max_size=6)
)
@search(150)
def test_any_bytes_in_a_head_get_an_answer_or_an_end(brief: LiveServer, cut: tuple[int, int], new: bytes | str) -> None:
    start, length = cut
    sent, put = post(PATHS[0], GOOD), new if isinstance(new, bytes) else new.encode()
    check(exchanged(brief, sent[:start] + put + sent[start + length :]), must=False)
