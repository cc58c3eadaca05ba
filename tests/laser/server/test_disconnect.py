"""A client that goes away frees its request: before the first token, in mid-stream, unstreamed, and while queued."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import openai
import pytest

from tests.support.live_server import ENDLESS, WAIT_S, LiveServer, asking, wait_until


@pytest.fixture(autouse=True)
def _idle_before_and_after(narrow: LiveServer) -> Iterator[None]:
    narrow.wait_for_load(running=0, waiting=0, cells_reserved=0)
    yield
    narrow.wait_for_load(running=0, waiting=0, cells_reserved=0)


@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "whole"])
def test_a_running_request_whose_client_leaves_is_freed_at_once(narrow: LiveServer, stream: bool) -> None:
    with asking(narrow, max_tokens=ENDLESS, stream=stream):
        narrow.wait_for_load(running=1)
    narrow.wait_for_load(running=0, cells_reserved=0)  # within seconds; the whole reply takes minutes


@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "whole"])
def test_a_queued_request_whose_client_leaves_is_forgotten(narrow: LiveServer, stream: bool) -> None:
    with asking(narrow, max_tokens=ENDLESS, stream=True):
        narrow.wait_for_load(running=1)
        with asking(narrow, stream=stream):
            narrow.wait_for_load(running=1, waiting=1)
        narrow.wait_for_load(waiting=0)
        assert narrow.load.running == 1


def test_a_client_that_leaves_in_mid_stream_makes_room_for_the_next(narrow: LiveServer) -> None:
    with asking(narrow, max_tokens=ENDLESS, stream=True) as connection:
        received = b""
        while b"reasoning" not in received:
            received += connection.recv(4096)
        answers: list[int] = []
        next_one = threading.Thread(target=lambda: answers.append(narrow.post(max_tokens=8).status_code))
        next_one.start()
        narrow.wait_for_load(running=1, waiting=1)
    wait_until(lambda: bool(answers))
    next_one.join()
    assert answers == [200]


def test_a_client_that_leaves_while_others_wait_takes_nobody_with_it(narrow: LiveServer) -> None:
    statuses: list[int] = []
    with asking(narrow, max_tokens=ENDLESS, stream=True):
        narrow.wait_for_load(running=1)
        others = [
            threading.Thread(target=lambda: statuses.append(narrow.post(max_tokens=8).status_code)) for _ in range(4)
        ]
        for other in others:
            other.start()
        with asking(narrow, stream=False):
            narrow.wait_for_load(waiting=5)
        narrow.wait_for_load(waiting=4)
    for other in others:
        other.join(WAIT_S)
    assert statuses == [200] * 4


def test_an_sdk_stream_that_is_closed_frees_its_request(narrow: LiveServer) -> None:
    with openai.OpenAI(base_url=f"{narrow.url}/v1", api_key="unused", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="narrow", messages=[{"role": "user", "content": "hello"}], max_tokens=ENDLESS, stream=True
        )
        next(iter(stream))
        stream.close()
    narrow.wait_for_load(running=0, cells_reserved=0)


def test_an_sdk_call_that_times_out_frees_its_request(narrow: LiveServer) -> None:
    messages = [{"role": "user", "content": "hello"}]
    with (
        openai.OpenAI(base_url=f"{narrow.url}/v1", api_key="unused", max_retries=0, timeout=0.3) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        client.chat.completions.create(model="narrow", messages=messages, max_tokens=ENDLESS)
    narrow.wait_for_load(running=0, cells_reserved=0)


def test_a_half_sent_request_harms_nobody(narrow: LiveServer) -> None:
    host, port = narrow.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\r\n{"mess'
        )
    assert narrow.post(max_tokens=4).status_code == 200
