"""/openapi.json as the server actually behaves: OpenAI-style errors, streams beside whole replies, bearer keys."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from laser.server.api.errors import ErrorReply

STATUSES = {
    400: "The request is wrong; the message names the value and the limit.",
    401: "A key is needed.",
    403: "The key may not do this.",
    404: "There is no such thing here.",
    413: "The body has too many bytes.",
    415: "The body is compressed.",
    429: "Too many wait already; Retry-After says when to come back.",
    500: "The server failed.",
    503: "The server is about to end.",
    504: "The request's own deadline has passed while it waited.",
}
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


def failures(model: type[BaseModel] = ErrorReply) -> dict[int | str, dict[str, Any]]:
    """Returns the descriptions of the error responses, whose JSON is a `model`."""
    return {status: {"model": model, "description": said} for status, said in STATUSES.items()}


def describe(app: FastAPI, vocabulary: int) -> None:
    """Makes `app` serve this description. `vocabulary`: the served model's number of tokens."""

    def description() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            for path in schema["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)  # FastAPI's default; this server answers 400
            components = schema["components"]
            for unused in ("HTTPValidationError", "ValidationError"):
                components["schemas"].pop(unused, None)
            components["schemas"]["DetokenizeRequest"]["properties"]["tokens"]["items"]["maximum"] = vocabulary - 1
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"key": []}, {}]  # {}: for a server without keys
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = description  # type: ignore[method-assign] # FastAPI's documented way
