"""The dashboard's routes: the page, its style and its script, the status as JSON and as events."""

from __future__ import annotations

from functools import partial
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from laser.server.api.errors import Unavailable
from laser.server.api.headers import ResponseHeader
from laser.server.dashboard.monitor import Monitor
from laser.server.dashboard.schema import Status

PAGE = {
    "/": (("index.html",), "text/html"),
    "/dashboard.css": (("dashboard.css",), "text/css"),
    "/dashboard.js": (("dashboard.js", "charts.js", "chat.js"), "text/javascript"),
}
"""Each path, the files that are served as one there, and their media type. The gate asks for no key there."""

HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def dashboard(monitor: Monitor) -> APIRouter:
    """Returns the routes that serve the page and a monitor's status."""
    router = APIRouter()
    page = files("laser.server.dashboard") / "page"
    for path, (names, kind) in PAGE.items():
        data = b"\n".join((page / name).read_bytes() for name in names)
        router.add_api_route(path, partial(_file, data, kind), include_in_schema=False, response_class=Response)

    @router.get("/laser/status", response_model=Status)
    async def status() -> Response:
        """What the server does now, and the record of its last minutes."""
        seen = await monitor.status()
        if seen is None:
            raise Unavailable("the server is shutting down")
        return Response(seen.model_dump_json(), media_type="application/json")

    @router.get("/laser/events", response_class=StreamingResponse)
    async def events() -> Response:
        """The same as server-sent events: first all that is remembered, then once a second what is new."""
        headers: dict[str, str] = {ResponseHeader.CACHE_CONTROL: "no-cache", ResponseHeader.BUFFERING: "no"}
        return StreamingResponse(monitor.events(), media_type="text/event-stream", headers=headers)

    return router


async def _file(data: bytes, kind: str) -> Response:
    return Response(data, media_type=kind, headers=HEADERS)
