"""The gate before the application: gives every request an id, checks its key and its size, and logs it.

The gate reads a request's whole body before the application starts, so that a slow sender does not occupy the
application.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laser.server.api.errors import ApiError, BadRequest, Forbidden, TooLarge
from laser.server.api.surfaces import error_body
from laser.server.keys import KeyRing
from laser.server.telemetry.logs import FIELDS
from laser.server.telemetry.request_log import RequestLog
from laser.server.telemetry.tracing import trace

log = logging.getLogger("laser.gate")  # the name that operators filter by

OPEN = frozenset({"/", "/dashboard.css", "/dashboard.js", "/health", "/ready", "/version"})  # need no key
ENDLESS = "/laser/events"  # a HEAD served as a GET would never end
SMALL = 4096  # bytes of a body on paths that need no key
LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
PORT = re.compile(r":\d*$")
ID = re.compile(r"[!-~]{1,128}")  # visible ASCII


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What the gate lets pass and logs."""

    max_body: int = 4 * 1024 * 1024  # bytes
    body_s: float = 30.0  # within which a body must have arrived
    log_bodies: bool = False  # also log bodies, which hold what people say
    hosts: frozenset[str] | None = None  # names allowed in the Host header; None: any


class Gate:
    """ASGI middleware. The application finds `caller` and `log`, a RequestLog, in `scope["state"]`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        settings: GateSettings,
        answered: Callable[[str, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`answered` is called for every response, with the route's path and the status."""
        self._app = app
        self._keys = keys
        self._settings = settings
        self._answered = answered
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, headers = self._clock(), Headers(scope=scope)
        given = headers.get("x-request-id", "")
        name = given if ID.fullmatch(given) else uuid.uuid4().hex
        noted = RequestLog(request_id=name)
        scope.setdefault("state", {}).update(log=noted)
        method, status = scope["method"], 499
        if method == "HEAD" and scope["path"] != ENDLESS:
            scope = {**scope, "method": "GET"}  # uvicorn leaves out the body

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            elif not message.get("more_body", False):
                trace(noted)  # the span ends with the response
            await send(message)

        try:
            self._check_host(headers.get("host", ""))
            caller = self._keys.caller(headers.get("authorization")) if scope["path"] not in OPEN else None
            scope["state"]["caller"] = caller
            if caller is not None and caller.name:
                noted.key = caller.name
            body = await self._body(headers, receive, self._settings.max_body if caller is not None else SMALL)
            if body is None:
                return  # the client has gone
            if self._settings.log_bodies and body:
                noted.body = body.decode("utf-8", "replace")
            await self._app(scope, _after(body, receive), answer)
        except ApiError as error:
            headers_out = {**error.headers, "connection": "close"}  # the rest of its body is not read
            body_out = error_body(scope["path"], error)
            await JSONResponse(body_out, status_code=error.status, headers=headers_out)(scope, receive, answer)
        except Exception:
            status = 500
            raise
        finally:
            trace(noted)
            route = getattr(scope.get("route"), "path", "other")
            self._answered(route, status)
            fields = {"request_id": name, "ms": round((self._clock() - began) * 1e3, 1), **noted.fields}
            level = logging.INFO if method == "POST" or status >= 400 else logging.DEBUG  # scrapes are frequent
            log.log(level, "%s %s %d", method, scope["path"], status, extra={FIELDS: fields})

    def _check_host(self, given: str) -> None:
        """Raises Forbidden if the Host is no name of the server: a web page can make its own name resolve to it."""
        hosts, name = self._settings.hosts, PORT.sub("", given).lower()
        if hosts is not None and name and name not in hosts:
            raise Forbidden(
                f"the Host is {name!r}, must be {' or '.join(sorted(hosts))} where no key is needed; "
                "--allow-host adds others"
            )

    async def _body(self, headers: Headers, receive: Receive, limit: int) -> bytes | None:
        """Returns the whole body; None: the client has gone. Raises ApiError if the body is too large or too slow."""
        stated = headers.get("content-length", "0")
        if stated.isdecimal() and int(stated) > limit:
            raise TooLarge(limit)
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._settings.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part = message.get("body", b"")
                    size += len(part)
                    if size > limit:
                        raise TooLarge(limit)
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError as error:
            raise BadRequest(f"the body has not come within {self._settings.body_s:g} s") from error


def _after(body: bytes, receive: Receive) -> Receive:
    """Returns the application's `receive`: first the body in one piece, then what `receive` brings."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
