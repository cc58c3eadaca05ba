"""An HTTP connection that limits how long it waits for a request's head, and for the client to read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from laser.server.api.errors import ApiError, BadRequest, HeadTooLarge
from laser.server.api.surfaces import error_body

MOST_HEAD = 65536  # bytes of a request line and its headers

_BODIES = (b"content-length", b"transfer-encoding")


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, closed after `timeout_keep_alive` s without a complete request head, or without a read.

    uvicorn itself applies this timeout only between two requests.
    """

    url = b""  # of the newest request, as far as it has come
    _silence: asyncio.TimerHandle | None = None  # runs until a request's head is complete; None: no head is due
    _head = 0  # bytes of the head so far, or of data after a body that is no further head
    _refusal: ApiError | None = None  # why the head is refused; None: it is not
    _only_head = False  # whether the data just received belongs to a head only
    _answered: RequestResponseCycle | None = None  # in progress; uvicorn reports a disconnect to the newest cycle only
    _stall: asyncio.TimerHandle | None = None  # runs while the client does not read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._silence = self._later(self.transport.close)

    def data_received(self, data: bytes) -> None:
        self._only_head = True
        if self._silence is None and (self.cycle is None or self.cycle.response_complete):
            self._silence = self._later(self.transport.close)  # blank lines, too, cancel uvicorn's own timer
        super().data_received(data)
        if self._only_head and not self.transport.is_closing():
            self._head += len(data)  # the parser buffers all of it, and reports a header only once it is complete
            if self._head > MOST_HEAD:
                self._refuse(HeadTooLarge(MOST_HEAD))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._silence is None:  # a further request on this connection
            self._silence = self._later(self.transport.close)

    def on_headers_complete(self) -> None:
        self._silence = _cancelled(self._silence)
        self._beyond_head()
        if self.parser.should_upgrade() and any(name in _BODIES for name, _ in self.headers):
            self._refusal = BadRequest("Upgrade is not supported: the server speaks HTTP/1.1, send the body in that")
            raise self._refusal  # the parser would treat the body as another protocol's
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD:
            self._refusal = HeadTooLarge(MOST_HEAD)
            raise self._refusal  # the parser turns it into its own error
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._beyond_head()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._beyond_head()
        super().on_message_complete()

    def _beyond_head(self) -> None:
        self._head, self._only_head = 0, False

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self._later(self.transport.abort)  # close() would wait until everything is read

    def resume_writing(self) -> None:
        self._stall = _cancelled(self._stall)
        super().resume_writing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        self._silence, self._stall = _cancelled(self._silence), _cancelled(self._stall)
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or BadRequest("this is no HTTP request that can be read"))

    def _refuse(self, error: ApiError) -> None:
        path = self.url.partition(b"?")[0].decode("latin-1")
        body = json.dumps(error_body(path, error)).encode()
        status = HTTPStatus(error.status)
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        self.transport.close()

    def _later(self, end: Callable[[], Any]) -> asyncio.TimerHandle:
        return self.loop.call_later(self.timeout_keep_alive, end)


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None
