"""The entrance: gives every request an id, checks the host it asks for, counts and logs it.

Everything else is behind the entrance, also what answers web pages before they may ask.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Callable, Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laser.server.api import surfaces
from laser.server.api.errors import Forbidden, shown
from laser.server.api.headers import RequestHeader, ResponseHeader
from laser.server.api.surfaces import error_body
from laser.server.gate import request_id
from laser.server.telemetry.logs import FIELDS
from laser.server.telemetry.request_log import LogField, RequestLog
from laser.server.telemetry.tracing import trace

log = logging.getLogger("laser.gate")  # the name that operators filter by

ENDLESS = "/laser/events"  # a HEAD served as a GET would never end
LOCAL = ("localhost", "127.0.0.1", "[::1]")
PORT = re.compile(r":\d*$")
EXPOSED = (  # to the scripts of web pages
    ResponseHeader.REQUEST_ID, ResponseHeader.RETRY_AFTER, ResponseHeader.RETRY_AFTER_MS, ResponseHeader.IGNORED,
)  # fmt: skip
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Entrance:
    """ASGI middleware. The application finds `log`, a RequestLog, in `scope["state"]`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str] | None,
        answered: Callable[[str, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hosts`: names allowed in the Host header, as `host_name` returns them; None: any.

        `answered` is called for every response, with the route's path and the status.
        """
        self._app = app
        self._hosts = hosts
        self._answered = answered
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, headers = self._clock(), Headers(scope=scope)
        name = request_id(headers.get(RequestHeader.REQUEST_ID, ""))
        noted = RequestLog(request_id=name)
        scope.setdefault("state", {}).update(log=noted)
        method, status = scope["method"], 499
        if method == "HEAD" and scope["path"] != ENDLESS:
            scope = {**scope, "method": "GET"}  # uvicorn leaves out the body

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[ResponseHeader.REQUEST_ID] = name
            elif not message.get("more_body", False):
                trace(noted)  # the span ends with the response
            await send(message)

        try:
            self._check_host(headers.get("host", ""))
            await self._app(scope, receive, answer)
        except Forbidden as error:
            said = JSONResponse(error_body(scope["path"], error), error.status, {"connection": "close"})
            await said(scope, receive, answer)
        except Exception:
            status = 500
            raise
        finally:
            trace(noted)
            route = getattr(scope.get("route"), "path", _known(scope["path"]))  # the gate refuses before there is one
            self._answered(route, status)
            took_ms = round((self._clock() - began) * 1e3, 1)
            fields: dict[str, object] = {LogField.REQUEST_ID: name, LogField.MS: took_ms, **noted.fields}
            _write(method, scope["path"], status, fields)

    def _check_host(self, given: str) -> None:
        """Raises Forbidden if the Host is no name of the server: a web page can make its own name resolve to it."""
        if self._hosts is None or not given:
            return
        name = host_name(given)
        if name not in self._hosts:
            raise Forbidden(
                f"the Host is {shown(name)}, must be {' or '.join(sorted(self._hosts))} where no key is needed; "
                "--allow-host adds others"
            )


class KnownPages(CORSMiddleware):
    """Answers web pages of known origins, which are compared without regard to case and to the default port."""

    def __init__(self, app: ASGIApp, *, origins: Iterable[str]) -> None:
        super().__init__(
            app,
            allow_origins=[origin_name(each) for each in origins],
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )

    def is_allowed_origin(self, origin: str) -> bool:
        return super().is_allowed_origin(origin_name(origin))


def host_name(given: str) -> str:
    """Returns a host without its port, in the one form in which names are compared: `Box.LAN.:80` is `box.lan`."""
    bare = given.strip().lower()
    if bare.count(":") > 1 and not bare.startswith("["):
        bare = f"[{bare}]"  # an IPv6 address by itself
    bare = PORT.sub("", bare).removesuffix(".")
    if bare.startswith("["):
        try:
            return f"[{ipaddress.ip_address(bare.strip('[]')).compressed}]"
        except ValueError:
            return bare
    return bare


def origin_name(given: str) -> str:
    """Returns a web page's origin in the form in which browsers send it: `HTTPS://Chat.example:443/` has no `:443`."""
    bare = given.strip().lower().removesuffix("/")
    return bare.removesuffix(DEFAULT_PORTS.get(bare.partition("://")[0], ""))


def refusals(answered: Callable[[str, int], None]) -> Callable[[str, int, str], None]:
    """Returns what counts and logs a path, a status and an id that the protocol refuses before it is a request."""

    def refused(path: str, status: int, name: str) -> None:
        answered("other", status)
        _write("?", path, status, {LogField.REQUEST_ID: name})

    return refused


def _known(path: str) -> str:
    """Returns the path under which a request is counted that has come to no route."""
    return path if any(path == surface.path for surface in surfaces.SURFACES) else "other"


def _write(method: str, path: str, status: int, fields: dict[str, object]) -> None:
    level = logging.INFO if method in ("POST", "?") or status >= 400 else logging.DEBUG  # scrapes are frequent
    log.log(level, "%s %s %d", method, path, status, extra={FIELDS: fields})
