"""The routes of endpoints: a body is read within bounds before its endpoint is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from laser.server.api.errors import is_json, no_object
from laser.server.delivery import GONE, unless_gone
from laser.server.intake.reader import BodyReader
from laser.server.intake.turns import Release

JSON = "application/json"
UNTYPED = "/api/"  # beginning of Ollama's paths, whose clients send no Content-Type, or curl's, which is a form's


class BodyRoute(APIRoute):
    """A route whose endpoint may take `asked`, what the body says, and the request; FastAPI describes both.

    The endpoint may call `request.state.release` once it needs `asked` no more; it is called for it at its end.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint, asks = self.endpoint, inspect.signature(self.endpoint, eval_str=True).parameters.get("asked")
        if asks is None:
            return super().get_route_handler()
        model, path = asks.annotation, self.path

        async def handle(request: Request) -> Response:
            reader: BodyReader = request.app.state.reader
            content_type = request.headers.get("content-type", "")
            if path.startswith(UNTYPED) and "origin" not in request.headers:
                content_type = JSON  # no web page's, which tells its origin and must ask before it sends JSON
            raw = (await request.receive())["body"]
            if not raw or not is_json(content_type):
                raise no_object(content_type)
            request.state.size = len(raw)
            release: Release = request.state.release
            try:
                asked = await unless_gone(request.receive, reader.read(raw, model, request.state.caller, release))
                del raw
                if asked is None:
                    return Response(status_code=GONE)
                made = await endpoint(asked, request)
            finally:
                release()
            if isinstance(made, BaseModel):
                return JSONResponse(made.model_dump())
            return made  # type: ignore[no-any-return]

        return handle
