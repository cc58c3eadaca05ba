"""/openapi.json as the server actually behaves: OpenAI-style errors, streams beside whole replies, bearer keys.

What a field means is said where the field is declared (`models/comments.py`).
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from enum import Enum
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from laser.server.api.base import Fields
from laser.server.api.errors import ErrorReply
from laser.server.api.fields import LEAST_MS, MOST_MS
from laser.server.api.headers import RequestHeader, ResponseHeader
from laser.server.api.shape import EVENTS, LINES
from models.comments import described, summary

STATUSES = {
    400: "The request is wrong; the message names the value and the limit.",
    401: "A key is needed.",
    403: "The key may not do this, or the server has another name.",
    404: "There is no such thing here.",
    405: "The path has no such method.",
    413: "The body has too many bytes.",
    415: "The body is compressed.",
    431: "The head has too many bytes.",
    429: "Too many wait already; Retry-After says when to come back.",
    500: "The server failed.",
    503: "The server is about to end, its engine is broken, or its engine's process has ended: try again.",
    504: "The request's own deadline has passed while it waited.",
}
STREAMS = frozenset({EVENTS.media_type, LINES.media_type})
RETRIED = ("429", "503")  # statuses whose responses say when to come back
CONSTANT = "Always the same."


def failures(model: type[BaseModel] = ErrorReply) -> dict[int | str, dict[str, Any]]:
    """Returns the descriptions of the error responses, whose JSON is a `model`."""
    return {status: {"model": model, "description": said} for status, said in STATUSES.items()}


def streamed(media_type: str) -> dict[int | str, dict[str, Any]]:
    """Returns the description of a reply that may also come as a stream."""
    return {200: {"content": {media_type: {}}}}


def describe(app: FastAPI, vocabulary: int) -> None:
    """Makes `app` serve this description. `vocabulary`: the served model's number of tokens."""

    def description() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            components = schema["components"]
            for unused in ("HTTPValidationError", "ValidationError"):
                components["schemas"].pop(unused, None)
            _tell(components["schemas"], _classes(app.routes))
            for path in schema["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)  # FastAPI's default; this server answers 400
                    _tell_headers(operation)
            components["schemas"]["DetokenizeRequest"]["properties"]["tokens"]["items"]["maximum"] = vocabulary - 1
            components["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer"},
                "api-key": {"type": "apiKey", "in": "header", "name": RequestHeader.API_KEY.value},
            }
            schema["security"] = [{"key": []}, {"api-key": []}, {}]  # {}: for a server without keys
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = description  # type: ignore[method-assign] # FastAPI's documented way


def _tell_headers(operation: dict[str, Any]) -> None:
    """Adds the headers of an operation's request and responses. A reply is known by its stream."""
    texts, answers = described(RequestHeader), described(ResponseHeader)
    if STREAMS & set(operation["responses"]["200"].get("content", {})) and "requestBody" in operation:
        operation.setdefault("parameters", []).extend(
            {
                "name": header.value,
                "in": "header",
                "required": False,
                "description": texts[header.name],
                "schema": {"type": "number", "minimum": LEAST_MS[header], "maximum": MOST_MS},
            }
            for header in LEAST_MS
        )
    for status, response in operation["responses"].items():
        sent = [ResponseHeader.REQUEST_ID]
        sent += [ResponseHeader.RETRY_AFTER, ResponseHeader.RETRY_AFTER_MS] if status in RETRIED else []
        response["headers"] = {
            header.value: {"description": answers[header.name], "schema": {"type": "string"}} for header in sent
        }


def _tell(schemas: dict[str, Any], classes: dict[str, type]) -> None:
    """Adds to each component what its class says of its fields or members."""
    for name, schema in schemas.items():
        owner = classes.get(name)
        if owner is None:
            continue
        texts = described(owner)
        if issubclass(owner, Enum):
            schema["description"] = summary(owner)
            schema["x-enumDescriptions"] = {each.value: texts[each.name] for each in owner if each.name in texts}
        for field, said in schema.get("properties", {}).items():
            text = (
                texts.get(field)
                or texts.get(f"{field}_")
                or _of_reference(said, classes)
                or (CONSTANT if "const" in said else "")
            )
            if text:
                said["description"] = text


def _of_reference(said: dict[str, Any], classes: dict[str, type]) -> str:
    """Returns what the one class says of itself that a field refers to; empty: it refers to none, or to several."""
    either = [said, *said.get("anyOf", ()), said.get("items", {})]
    found = [each["$ref"].rpartition("/")[2] for each in either if "$ref" in each]
    return summary(classes[found[0]]) if len(found) == 1 and found[0] in classes else ""


def _classes(routes: Iterable[Any]) -> dict[str, type]:
    """Returns the classes that components may be of, by name: those of routes and of requests, and all in them."""
    # of the house, too: a router that the application includes does not show its routes
    waiting: list[Any] = [Fields, *(one for one in BaseModel.__subclasses__() if one.__module__.startswith("laser."))]
    for route in routes:
        responses = getattr(route, "responses", {}).values()
        waiting += [getattr(route, "response_model", None), *(each.get("model") for each in responses)]
    found: dict[str, type] = {}
    while waiting:
        one = waiting.pop()
        waiting += typing.get_args(one)
        if not isinstance(one, type) or found.get(one.__name__) is one:
            continue
        if issubclass(one, Fields):
            waiting += one.__subclasses__()
        if issubclass(one, BaseModel):
            waiting += [field.annotation for field in one.model_fields.values()]
        elif dataclasses.is_dataclass(one):
            waiting += typing.get_type_hints(one).values()
        elif not issubclass(one, Enum):
            continue
        found[one.__name__] = one
    return found
