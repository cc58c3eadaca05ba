"""The event loop's end of the socket to the engine's process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from laser.server.engine_process.messages import Command, Event
from laser.server.engine_process.wire import EVENTS, Unpacker, packed


class Line(asyncio.Protocol):
    """One process's socket: gives what comes to `take`, and tells once nothing comes any more."""

    def __init__(self, take: Callable[[list[Event]], None], closed: Callable[[Line], None]) -> None:
        self._take, self._closed = take, closed
        self._unpacker = Unpacker(EVENTS)
        self._transport: asyncio.WriteTransport | None = None
        self.heard_s = time.monotonic()  # when something last came
        self.room = asyncio.Event()  # clear: the process does not read fast enough
        self.room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard_s = time.monotonic()
        for events in self._unpacker.feed(data):
            self._take(events)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.room.set()
        self._closed(self)

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def send(self, command: Command) -> None:
        if self._transport is not None:
            self._transport.write(packed([command]))
