"""The gate before the application: every request gets an id, is known by its key, small enough, and logged.

It reads a request's body whole before the application begins, so that nobody occupies it by sending slowly.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laser.server.api.errors import ApiError, BadRequest, Forbidden, TooLarge
from laser.server.keys import KeyRing
from laser.server.telemetry.logs import FIELDS
from laser.server.telemetry.tracing import trace

log = logging.getLogger("laser.gate")  # the name that operators filter by

OPEN = frozenset({"/", "/dashboard.css", "/dashboard.js", "/health", "/ready", "/version"})  # needs no key
ENDLESS = "/laser/events"  # a GET without its body would not end either
SMALL = 4096  # bytes that a body may have where no key is needed
LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
PORT = re.compile(r":\d*$")
ID = re.compile(r"[!-~]{1,128}")  # visible ASCII


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What passes."""

    max_body: int = 4 * 1024 * 1024  # bytes
    body_s: float = 30.0  # within which a body must have come
    log_bodies: bool = False  # with what people say
    hosts: frozenset[str] | None = None  # names by which the server may be asked; None: any


class Gate:
    """ASGI middleware. `scope["state"]` tells the application `caller` and `request_id`; it adds to `told`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        settings: GateSettings,
        answered: Callable[[str, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`answered` hears of every response: the route's path, and the status."""
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
        told: dict[str, Any] = {}
        scope.setdefault("state", {}).update(request_id=name, told=told)
        method, status = scope["method"], 499
        if method == "HEAD" and scope["path"] != ENDLESS:
            scope = {**scope, "method": "GET"}  # the server leaves out the body

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            elif not message.get("more_body", False):
                trace(name, told)  # the span ends with the response
            await send(message)

        try:
            self._check_host(headers.get("host", ""))
            caller = self._keys.caller(headers.get("authorization")) if scope["path"] not in OPEN else None
            scope["state"]["caller"] = caller
            if caller is not None and caller.name:
                told["key"] = caller.name
            body = await self._body(headers, receive, self._settings.max_body if caller is not None else SMALL)
            if body is None:
                return  # the client has gone
            if self._settings.log_bodies and body:
                told["body"] = body.decode("utf-8", "replace")
            await self._app(scope, _after(body, receive), answer)
        except ApiError as error:
            headers_out = {**error.headers, "connection": "close"}  # of its body the rest is not read
            await JSONResponse(error.body(), status_code=error.status, headers=headers_out)(scope, receive, answer)
        except Exception:
            status = 500
            raise
        finally:
            trace(name, told)
            route = getattr(scope.get("route"), "path", "other")
            self._answered(route, status)
            fields = {"request_id": name, "ms": round((self._clock() - began) * 1e3, 1), **told}
            level = logging.INFO if method == "POST" or status >= 400 else logging.DEBUG  # scrapes are many
            log.log(level, "%s %s %d", method, scope["path"], status, extra={FIELDS: fields})

    def _check_host(self, given: str) -> None:
        """Raise Forbidden for a name that is not the server's: a web page may have it lead here."""
        hosts, name = self._settings.hosts, PORT.sub("", given).lower()
        if hosts is not None and name and name not in hosts:
            raise Forbidden(
                f"the Host is {name!r}, must be {' or '.join(sorted(hosts))} where no key is needed; "
                "--allow-host adds others"
            )

    async def _body(self, headers: Headers, receive: Receive, limit: int) -> bytes | None:
        """The whole body. None: the client has gone. Raises ApiError where it is too large or too slow."""
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
    """What the application receives: the body in one piece, then what comes after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
