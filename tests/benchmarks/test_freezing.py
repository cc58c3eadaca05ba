"""A server whose engine's process is stopped under streams: it is told, and nothing is lost."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from benchmarks.support.freezing import WHOLE, FreezeFound, StreamRead, begun, freeze, read
from laser.server.engine_process.supervision import FROZEN_S
from laser.server_process import serving

STOPPED_S = FROZEN_S + 2.0


@pytest.mark.slow
def test_streams_go_on_to_their_ends_behind_a_stop_that_health_has_told() -> None:
    async def run() -> FreezeFound:
        async with serving(["serve", "--port", "0", "--no-early-exit", "--no-loop-detection"]) as server:
            return await freeze(server, ["What is 2 + 3?", "What is 7 + 8?"], STOPPED_S, tokens=800)

    found = asyncio.run(run())
    assert found.faults == []
    assert found.ends == [WHOLE, WHOLE]
    assert found.told_s is not None
    assert FROZEN_S - 1.5 < found.told_s <= found.stopped_s  # it had spoken shortly before it was stopped
    assert found.stopped_s >= STOPPED_S


@pytest.mark.slow
def test_a_stream_that_is_refused_is_told_at_once() -> None:
    async def run() -> None:
        async with serving(["serve", "--port", "0"]) as server:
            await asyncio.wait_for(freeze(server, ["What is 2 + 3?", ""], STOPPED_S, tokens=0), 5.0)

    with pytest.raises(httpx.HTTPStatusError, match="400 Bad Request"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("brought", "end"),
    [
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "broken off: HTTPStatusError: .*503 Service"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\ndata: {}\n\n\r\n",
            "broken off: RemoteProtocolError: peer closed connection",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ndata: {}\n\n", "broken off$"),
    ],
)
def test_a_stream_that_ends_before_it_has_begun_is_not_waited_for(brought: str, end: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}}")  # the whole request
        writer.write(brought.encode())
        await writer.drain()
        writer.close()

    async def run() -> tuple[StreamRead, BaseException | None]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            reading = StreamRead(tokens=8)
            task = asyncio.create_task(read(client, reading, "?"))
            waited = asyncio.wait_for(begun([task], [reading]), 5.0)
            return reading, (await asyncio.gather(waited, return_exceptions=True))[0]

    reading, told = asyncio.run(run())
    assert re.match(end, reading.end)
    assert (told is None) is (reading.fault is None)
    assert not isinstance(told, TimeoutError)
