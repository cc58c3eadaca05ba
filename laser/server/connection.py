"""An HTTP connection that limits how long it waits for a client, and answers clients that have said all they will say.

A client that has closed its sending side may still read. It gets its answer, unless it proves to have gone: a client
that reads nothing more resets the connection when it is sent something.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from laser.server.api.errors import ApiError, BadRequest, HeadTooLarge
from laser.server.api.surfaces import error_body
from laser.server.gate import request_id

MOST_HEAD = 65536  # bytes of a request line and its headers
MOST_UNREAD = 64 * 1024 * 1024  # bytes that a refused client may still send while it reads its answer
LINGER_S = 10.0  # within which it must have sent them
LOOK_S = 0.25  # between two looks at a client that has closed its sending side, or whose data is not read
PROBE_S = 2.0  # between two attempts to send something to a client that has closed its sending side
OLD_S = 1.0  # for which a client that speaks HTTP/1.0 waits then: it can be sent nothing before its answer

PING = "ping"  # in a request's state: what its stream's client skips, where it has another sign of life than events
REFUSED = "refused"  # in the application's state: called with path, status and id of what the protocol refuses

_BODIES = (b"content-length", b"transfer-encoding")
_UPGRADING = (b"upgrade", b"http2-settings")
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"  # every client must skip it
_COMMENT = b": ping\n\n"  # in a stream of events, every one of which is written whole
_LEFT = getattr(select, "POLLRDHUP", 0) | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, closed after `timeout_keep_alive` s without a complete request head, or without a read.

    uvicorn itself applies this timeout only between two requests.
    """

    url = b""  # of the newest request, as far as it has come
    _silence: asyncio.TimerHandle | None = None  # runs until a request's head is complete; None: no head is due
    _head = 0  # bytes of the head so far, or of data after a body that is no further head
    _ignored = False  # whether the head just read asks for another protocol, which is ignored
    _refusal: ApiError | None = None  # why the head is refused; None: it is not
    _only_head = False  # whether the data just received belongs to a head only
    _answered: RequestResponseCycle | None = None  # in progress; uvicorn reports a disconnect to the newest cycle only
    _stall: asyncio.TimerHandle | None = None  # runs while the client does not read
    _looking: asyncio.TimerHandle | None = None  # runs while the client may leave unnoticed
    _said_all: float | None = None  # when the client closed its sending side; None: it has not
    _ended = False  # whether all that it sent before has been read
    _probed = 0.0  # when the client was last sent something to see whether it reads
    _unread: int | None = None  # bytes dropped since the last answer; None: the connection is not about to close

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._silence = self._later(self.transport.close)

    def data_received(self, data: bytes) -> None:
        if self._unread is not None:
            self._drop(len(data))
            return
        if self._refusal is not None:
            return  # the refusal follows the answers before it
        self._only_head = True
        if self._silence is None and (self.cycle is None or self.cycle.response_complete):
            self._silence = self._later(self.transport.close)  # blank lines, too, cancel uvicorn's own timer
        self._unset_keepalive_if_required()
        self._feed(data)
        if self._only_head and not self.transport.is_closing():
            self._head += len(data)  # the parser buffers all of it, and reports a header only once it is complete
            if self._head > MOST_HEAD:
                self._refuse(HeadTooLarge(MOST_HEAD))

    def _feed(self, data: bytes) -> None:
        """Parses data as uvicorn does, but goes on behind the head of a request whose Upgrade is ignored."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserError:
                said = "Invalid HTTP request received."
                self.logger.warning(said)
                self.send_400_response(said)
                return
            except httptools.HttpParserUpgrade as upgrade:  # the parser has ended the message at its head
                if not self._ignored:
                    self._unsupported_upgrade_warning()
                    return
                (end,) = upgrade.args
                self._ignored = False
                data = self._without_upgrade() + data[end:]
                self.parser = httptools.HttpRequestParser(self)  # the old one may have closed with that message
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own

    def _without_upgrade(self) -> bytes:
        """Returns the head that was just read, without what asks for another protocol (RFC 9110, 7.8)."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                options = [each.strip() for each in value.split(b",")]
                value = b", ".join(each for each in options if each and each.lower() not in _UPGRADING)
            if (value or name != b"connection") and name not in _UPGRADING:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join((*lines, b"", b""))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._silence is None:  # a further request on this connection
            self._silence = self._later(self.transport.close)

    def on_headers_complete(self) -> None:
        wanted = [value.strip().lower() for name, value in self.headers if name == b"upgrade"]
        if self.parser.should_upgrade() and wanted == [b"h2c"] and self.parser.get_method() != b"CONNECT":
            self._ignored = True  # the head comes again without its Upgrade
            return
        self._silence = _cancelled(self._silence)
        self._beyond_head()
        if self.parser.should_upgrade() and any(name in _BODIES for name, _ in self.headers):
            self._refusal = BadRequest("Upgrade is not supported: the server speaks HTTP/1.1, send the body in that")
            raise self._refusal  # the parser would treat the body as another protocol's
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD:
            self._refusal = HeadTooLarge(MOST_HEAD)
            raise self._refusal  # the parser turns it into its own error
        super().on_headers_complete()
        self.cycle.transport = _Answering(self, self.cycle)  # type: ignore[assignment] # what a cycle uses of one
        if self.pipeline:
            self._look_later()  # nothing is read while requests wait behind one, not even the client's end

    def on_body(self, body: bytes) -> None:
        self._beyond_head()
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._ignored:
            return
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

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_progress is not None or self.transport.is_closing() or self._unread is not None:
            return
        if self._refusal is not None:
            self._send_refusal(self._refusal)
        elif self._ended:
            self.transport.close()

    @property
    def _in_progress(self) -> RequestResponseCycle | None:
        answered = self._answered
        return None if answered is None or answered.response_complete else answered

    # --- clients that leave -----------------------------------------------------------------------------------------

    def eof_received(self) -> bool:  # type: ignore[override] # True keeps the connection open for the answer
        if self._unread is not None or self._in_progress is None or self.cycle.more_body:
            return False  # nothing is due, or the request will never be complete
        self._silence = _cancelled(self._silence)
        self._said_all, self._ended = self.loop.time(), True
        self._look()
        return True

    def _look_later(self) -> None:
        if self._looking is None:
            self._looking = self.loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        """Ends the connection if its client has gone, and looks again soon if an answer is still due."""
        self._looking = _cancelled(self._looking)
        cycle, now = self._in_progress, self.loop.time()
        if cycle is None or self.transport.is_closing():
            return
        if self._said_all is None and _has_closed(self.transport):
            self._said_all = now
        if self._said_all is None:
            if self.pipeline:
                self._look_later()
            return
        old = cycle.scope["http_version"] == "1.0" and not cycle.response_started
        if _is_reset(self.transport) or (old and now >= self._said_all + OLD_S):
            self.transport.abort()
            return
        if not old and now >= self._probed + PROBE_S:
            self._probed = now
            if not cycle.response_started:
                self.transport.write(_GO_ON)
            elif cycle.chunked_encoding and cycle.scope["method"] != "HEAD":
                ping: bytes = cycle.scope["state"].get(PING, _COMMENT)
                self.transport.write(b"%x\r\n%b\r\n" % (len(ping), ping))
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._silence, self._stall = _cancelled(self._silence), _cancelled(self._stall)
        self._looking = _cancelled(self._looking)
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    # --- refusals ---------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or BadRequest("this is no HTTP request that can be read"))

    def _refuse(self, error: ApiError) -> None:
        self._refusal = error
        broken = self.cycle if self.cycle is not None and self.cycle.more_body else None  # refused in its body
        if broken is not None and broken is self._in_progress and not broken.response_started:
            broken.disconnected = True
            broken.message_event.set()
            self._send_refusal(error)
            return
        self._silence = _cancelled(self._silence)
        if self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()
        if self._in_progress is None:
            self._send_refusal(error)  # else once the requests before it are answered

    def _send_refusal(self, error: ApiError) -> None:
        if self._unread is not None:
            return
        path = self.url.partition(b"?")[0].decode("latin-1")
        given = dict(self.headers or ()).get(b"x-request-id", b"").decode("latin-1")
        name, body, status = request_id(given), json.dumps(error_body(path, error)).encode(), HTTPStatus(error.status)
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"x-request-id: {name}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        self.app_state.get(REFUSED, _nobody)(path, status.value, name)
        self.linger()

    def finish(self, cycle: RequestResponseCycle) -> None:
        """Closes the connection after a cycle's answer; a client that still sends its body gets to read the answer."""
        if cycle is self.cycle and cycle.more_body and self._said_all is None:
            self.linger()
        else:
            self.transport.close()

    def linger(self) -> None:
        """Sends what is written and the connection's end, then drops what the client still sends, up to a limit.

        A close at once would reset the connection, and the client might lose what it has not read.
        """
        if self._unread is not None or self.transport.is_closing():
            return
        self._unread, self._silence = 0, _cancelled(self._silence)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._silence = self.loop.call_later(min(LINGER_S, self.timeout_keep_alive), self.transport.close)

    def _drop(self, size: int) -> None:
        assert self._unread is not None
        self._unread += size
        if self._unread > MOST_UNREAD:
            self.transport.abort()

    def _later(self, end: Callable[[], Any]) -> asyncio.TimerHandle:
        return self.loop.call_later(self.timeout_keep_alive, end)


class _Answering:
    """A connection's transport as one cycle uses it: its end is the end of an answer."""

    def __init__(self, connection: PatientProtocol, cycle: RequestResponseCycle) -> None:
        self._connection, self._cycle = connection, cycle
        self.write, self.is_closing = connection.transport.write, connection.transport.is_closing

    def close(self) -> None:
        self._connection.finish(self._cycle)


def _has_closed(transport: asyncio.Transport) -> bool:
    """Whether the client has closed its sending side, though what it sent before is not read; False if unknown."""
    if not hasattr(select, "poll"):
        return False
    watched = select.poll()
    watched.register(transport.get_extra_info("socket").fileno(), _LEFT)
    return bool(watched.poll(0))


def _is_reset(transport: asyncio.Transport) -> bool:
    return bool(transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def _nobody(path: str, status: int, name: str) -> None:
    """Takes word of a refusal where no application has asked for it."""


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None
