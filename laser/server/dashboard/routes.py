"""The dashboard's routes: the page, its style and its script, the status as JSON and as events."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from laser.server.api.errors import Unavailable
from laser.server.api.headers import ResponseHeader
from laser.server.dashboard.assets import HEADERS, PAGE, read
from laser.server.dashboard.monitor import Monitor
from laser.server.dashboard.schema import Status


def dashboard(monitor: Monitor) -> APIRouter:
    """Returns the routes that serve the page and a monitor's status."""
    router = APIRouter()
    for path, (_, kind) in PAGE.items():
        router.add_api_route(path, partial(_file, read(path), kind), include_in_schema=False, response_class=Response)

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
