"""The gate before the application: checks a request's key and its size, and reads its body.

The gate reads a request's whole body before the application starts, so that a slow sender does not occupy the
application. Large bodies are counted: their number is limited, and shared between keys.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laser.server.api.errors import ApiError, BadRequest, Busy, EncodedBody, TooLarge
from laser.server.api.headers import RequestHeader
from laser.server.api.surfaces import error_body
from laser.server.dashboard.assets import PAGE
from laser.server.intake.memory import Tidy
from laser.server.intake.reading import LARGE
from laser.server.intake.turns import Release
from laser.server.keys import KeyRing

OPEN = frozenset({*PAGE, "/health", "/ready", "/version", "/api/version"})  # paths that need no key
SMALL = 4096  # bytes of a body on paths that need no key
DIGITS = 19  # of a Content-Length: those of 2⁶³
ID = re.compile(r"[!-~]{1,128}")  # visible ASCII


def request_id(given: str) -> str:
    """Returns the id that a request brings, or a new one if it brings none that can be shown."""
    return given if ID.fullmatch(given) else uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What the gate lets pass and logs."""

    max_body: int = 4 * 1024 * 1024  # bytes
    body_s: float = 30.0  # within which a body must have arrived
    log_bodies: bool = False  # also log bodies, which hold what people say
    most_large: int = 16  # large bodies at once that are received or not yet prepared for the engine


class LargeBodies:
    """Counts the large bodies that are in memory, by key; each key may have its share of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()
        self._tidy = Tidy()

    def take(self, key: str) -> Callable[[], None]:
        """Counts one more, and returns what gives its place back.

        Raises Busy if there are as many as may be, and this key has its share or more.
        """
        held = self._held.total()
        if held >= self._most and self._held[key] >= self._most / len(self._held | Counter({key: 1})):
            raise Busy(f"{held} large bodies are being read, may be {self._most} at once", 1.0)
        self._held[key] += 1
        return lambda: self._give_back(key)

    def _give_back(self, key: str) -> None:
        self._held[key] -= 1
        self._held += Counter()  # drops keys whose count is 0
        if not self._held:
            self._tidy.soon()


class Gate:
    """ASGI middleware behind the entrance. The application finds `caller` and `release` in `scope["state"]`.

    `release` gives back what the request holds while it is prepared, such as a large body's place. The application
    calls it early.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyRing, settings: GateSettings) -> None:
        self._app = app
        self._keys = keys
        self._settings = settings
        self._large = LargeBodies(settings.most_large)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, state = Headers(scope=scope), scope["state"]
        release = state["release"] = Release()
        try:
            caller = self._keys.caller(_authorization(headers)) if scope["path"] not in OPEN else None
            state["caller"] = caller
            if caller is not None and caller.name:
                state["log"].key = caller.name
            body = await self._body(headers, receive, scope, self._settings.max_body if caller is not None else SMALL)
            if body is None:
                return  # the client has gone
            if self._settings.log_bodies and body:
                state["log"].body = body.decode("utf-8", "replace")
            replay = _after(body, receive)
            del body  # the application drops it once it has read it
            await self._app(scope, replay, send)
        except ApiError as error:
            headers_out = {**error.headers, "connection": "close"}  # the rest of its body is not read
            body_out = error_body(scope["path"], error)
            await JSONResponse(body_out, status_code=error.status, headers=headers_out)(scope, receive, send)
        finally:
            release()

    async def _body(self, headers: Headers, receive: Receive, scope: Scope, limit: int) -> bytes | None:
        """Returns the whole body; None: the client has gone. Raises ApiError if the body is too large or too slow."""
        _check_head(headers, limit)
        parts, size, large, state = [], 0, False, scope["state"]
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
                    if size > LARGE and not large:
                        state["release"].add(self._large.take("" if state["caller"] is None else state["caller"].name))
                        large = True
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError as error:
            raise BadRequest(f"the body has not come within {self._settings.body_s:g} s") from error


def _authorization(headers: Headers) -> str | None:
    """Returns the key that a request brings, as an `Authorization` header; None: it brings none."""
    key = headers.get(RequestHeader.API_KEY)
    return headers.get(RequestHeader.AUTHORIZATION) or (None if key is None else f"Bearer {key}")


def _check_head(headers: Headers, limit: int) -> None:
    """Raises ApiError if the head says that the body is too large, or is not sent as it is."""
    for encoding in headers.getlist("content-encoding"):
        if encoding.strip().lower() not in ("", "identity"):
            raise EncodedBody(encoding)
    stated = headers.get("content-length", "0")
    if not (stated.isascii() and stated.isdigit()) or len(stated) > DIGITS:
        raise BadRequest(f"the Content-Length has {len(stated)} characters, must be at most {DIGITS} digits")
    if int(stated) > limit:
        raise TooLarge(limit)


def _after(body: bytes, receive: Receive) -> Receive:
    """Returns the application's `receive`: first the body in one piece, then what `receive` brings."""
    held: list[bytes] = [body]

    async def replay() -> Message:
        if held:
            return {"type": "http.request", "body": held.pop(), "more_body": False}
        return await receive()

    return replay
