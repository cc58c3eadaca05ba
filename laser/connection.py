"""A connection that does not wait for ever: for a request to come, nor for a client to read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from laser.errors import BadRequest


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, closed where a request's head has not come, or nothing is read, for `timeout_keep_alive` s.

    uvicorn itself is patient for so long only between two requests.
    """

    _silence: asyncio.TimerHandle | None = None  # until the head of a request has come
    _stall: asyncio.TimerHandle | None = None  # while the client does not read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._silence = self._later(self.transport.close)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._silence is None:  # a further request on this connection
            self._silence = self._later(self.transport.close)

    def on_headers_complete(self) -> None:
        self._silence = _cancelled(self._silence)
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self._later(self.transport.abort)  # closing would wait until all is read

    def resume_writing(self) -> None:
        self._stall = _cancelled(self._stall)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._silence, self._stall = _cancelled(self._silence), _cancelled(self._stall)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        body = json.dumps(BadRequest("this is no HTTP request that can be read").body()).encode()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            + f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        self.transport.close()

    def _later(self, end: Callable[[], Any]) -> asyncio.TimerHandle:
        return self.loop.call_later(self.timeout_keep_alive, end)


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None
