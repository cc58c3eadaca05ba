"""What the HTTP API answers when it cannot do what was asked, in OpenAI's error shape.

ApiError
├── BadRequest          400  the request itself is wrong
│   ├── ContextTooLong  400  prompt and reply do not fit the model's context
│   ├── TooLarge        413  the body has too many bytes
│   └── HeadTooLarge    431  the request line and the headers have
├── Unauthorized        401  no key, or one that is not known
├── Forbidden           403  a key that may not do this
├── UnknownModel        404  this server has another model
├── UnknownReply        404  no such reply is being made
├── Busy                429  too many wait already; says when to come back
├── ServerFailure       500  the request was right, the server failed
├── Unavailable         503  the server is about to end
└── DeadlineMissed      504  the request's own deadline has passed while it waited
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel


class ApiError(Exception):
    """An error that the client is told about."""

    status = 500
    type = "server_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        """The response's JSON."""
        return error_body(str(self), type=self.type, param=self.param, code=self.code)

    @property
    def headers(self) -> dict[str, str]:
        """The response's headers besides the usual ones."""
        return {}


class BadRequest(ApiError):
    """The request is wrong; the message names the value and the limit."""

    status = 400
    type = "invalid_request_error"


class ContextTooLong(BadRequest):
    """Prompt and reply together do not fit."""

    def __init__(self, message: str, *, param: str | None) -> None:
        super().__init__(message, param=param, code="context_length_exceeded")


class TooLarge(BadRequest):
    """The body has too many bytes."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body must have at most {limit} bytes", code="request_too_large")


class HeadTooLarge(BadRequest):
    """The request line and the headers have too many bytes."""

    status = 431

    def __init__(self, limit: int) -> None:
        super().__init__(f"URL and headers must have at most {limit} bytes", code="headers_too_large")


class Unauthorized(ApiError):
    """Nobody that is known here."""

    status = 401
    type = "authentication_error"

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key")

    @property
    def headers(self) -> dict[str, str]:
        return {"www-authenticate": "Bearer"}


class Forbidden(ApiError):
    """Somebody who may not do this."""

    status = 403
    type = "permission_error"


class UnknownModel(ApiError):
    """The model asked for is not served here."""

    status = 404
    type = "invalid_request_error"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        known_names = ", ".join(repr(each) for each in known)
        message = f"the model {name!r} does not exist here; known: {known_names}"
        super().__init__(message, param="model", code="model_not_found")


class UnknownReply(ApiError):
    """No such reply is being made."""

    status = 404
    type = "invalid_request_error"

    def __init__(self, name: str) -> None:
        super().__init__(f"no reply {name!r} is being made here", param="id", code="not_found")


class Busy(ApiError):
    """Too many wait already."""

    status = 429
    type = "rate_limit_error"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(f"{message}; try again in {retry_after_s:.1f} s", code="overloaded")
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        return retry_after(self.retry_after_s)


class ServerFailure(ApiError):
    """The server failed on a request that was right."""


class Unavailable(ApiError):
    """The server takes no more requests."""

    status = 503

    def __init__(self, message: str) -> None:
        super().__init__(message, code="unavailable")

    @property
    def headers(self) -> dict[str, str]:
        return retry_after(1.0)  # by then another process may listen here


class DeadlineMissed(ApiError):
    """The request's own deadline has passed while it waited."""

    status = 504

    def __init__(self, message: str) -> None:
        super().__init__(message, code="deadline_exceeded")

    @property
    def headers(self) -> dict[str, str]:
        return {"x-should-retry": "false"}  # OpenAI's clients would, with a new deadline, just when there is no room


def retry_after(seconds: float) -> dict[str, str]:
    """When to come back, in whole seconds for all clients and in milliseconds for OpenAI's."""
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(max(1, math.ceil(seconds * 1e3)))}


def error_body(message: str, *, type: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it; what cannot be written in UTF-8 is escaped."""
    readable = message.encode("utf-8", "backslashreplace").decode("utf-8")
    return {"error": {"message": readable, "type": type, "param": param, "code": code}}


def validation_error(errors: Sequence[Mapping[str, Any]], *, content_type: str) -> BadRequest:
    """The first of pydantic's complaints about a request, as one sentence that names field, value and limit."""
    first = errors[0]
    kind, context = first["type"], first.get("ctx") or {}
    param = ".".join(str(part) for part in first["loc"] if part != "body") or None
    if kind == "json_invalid":
        return BadRequest(f"the body is not JSON: {context.get('error', first['msg'])}", code="invalid_json")
    if param is None:
        if "json" not in content_type:
            return BadRequest(f"the Content-Type is {content_type!r}, must be 'application/json'")
        return BadRequest("the body must be a JSON object")
    shown = _shown(first.get("input"))
    sentence = {
        "missing": f"{param} is missing",
        "greater_than_equal": f"{param} is {shown}, must be at least {context.get('ge')}",
        "greater_than": f"{param} is {shown}, must be above {context.get('gt')}",
        "less_than_equal": f"{param} is {shown}, must be at most {context.get('le')}",
        "literal_error": f"{param} is {shown}, must be one of {context.get('expected')}",
        "value_error": f"{param}: {context.get('error')}",
        "too_short": f"{param} has {context.get('actual_length')} entries, needs {context.get('min_length')} or more",
    }.get(kind)
    return BadRequest(sentence or f"{param} is {shown}: {first['msg'][:1].lower()}{first['msg'][1:]}", param=param)


def _shown(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


class ErrorDetails(BaseModel):
    """What was wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    """An error, as OpenAI's clients read it."""

    error: ErrorDetails
