"""Errors of the HTTP API, and OpenAI's format for them. A surface may have a format of its own.

ApiError
├── BadRequest          400  the request itself is wrong
│   ├── ContextTooLong  400  prompt and reply do not fit the model's context
│   ├── TooLarge        413  the body has too many bytes
│   └── HeadTooLarge    431  the request line and the headers have too many bytes
├── Unauthorized        401  the key is missing or unknown
├── Forbidden           403  the key may not do this
├── UnknownModel        404  the server serves another model
├── UnknownReply        404  no reply with this id is in progress
├── HttpError           4xx  the web framework refuses path, method or body
├── Busy                429  too many requests wait already; says when to retry
├── ServerFailure       500  the request was valid, the server failed
├── Unavailable         503  the server is shutting down, or its engine is broken
└── DeadlineMissed      504  the request's own deadline passed while the request waited
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel


class ApiError(Exception):
    """An error that is sent to the client."""

    status = 500
    type = "server_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code

    @property
    def headers(self) -> dict[str, str]:
        """The response's additional headers."""
        return {}


class BadRequest(ApiError):
    """The request is wrong; the message names the value and the limit."""

    status = 400
    type = "invalid_request_error"


class ContextTooLong(BadRequest):
    """Prompt and reply together do not fit the model's context."""

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
    """The key is missing or unknown."""

    status = 401
    type = "authentication_error"

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key")

    @property
    def headers(self) -> dict[str, str]:
        return {"www-authenticate": "Bearer"}


class Forbidden(ApiError):
    """The key may not do this."""

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
    """No reply with this id is in progress."""

    status = 404
    type = "invalid_request_error"

    def __init__(self, name: str) -> None:
        super().__init__(f"no reply {name!r} is being made here", param="id", code="not_found")


class HttpError(ApiError):
    """The web framework refuses the path, the method or the body."""

    def __init__(self, message: str, *, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(message, code={404: "not_found", 405: "method_not_allowed"}.get(status))
        self.status = status
        self.type = "invalid_request_error" if status < 500 else "server_error"
        self._headers = dict(headers)

    @property
    def headers(self) -> dict[str, str]:
        return self._headers


class Busy(ApiError):
    """Too many requests wait already."""

    status = 429
    type = "rate_limit_error"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(f"{message}; try again in {retry_after_s:.1f} s", code="overloaded")
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        return retry_after(self.retry_after_s)


class ServerFailure(ApiError):
    """The server failed on a valid request."""


class Unavailable(ApiError):
    """The server accepts no more requests."""

    status = 503

    def __init__(self, message: str) -> None:
        super().__init__(message, code="unavailable")

    @property
    def headers(self) -> dict[str, str]:
        return retry_after(1.0)  # by then another process may listen here


class DeadlineMissed(ApiError):
    """The request's own deadline passed while the request waited."""

    status = 504

    def __init__(self, message: str) -> None:
        super().__init__(message, code="deadline_exceeded")

    @property
    def headers(self) -> dict[str, str]:
        return {"x-should-retry": "false"}  # OpenAI's clients would retry with a new deadline, just in an overload


def retry_after(seconds: float) -> dict[str, str]:
    """Returns the retry-after headers: whole seconds for all clients, milliseconds for OpenAI's."""
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(max(1, math.ceil(seconds * 1e3)))}


def openai_body(error: ApiError) -> dict[str, Any]:
    """Returns an error's JSON in OpenAI's format; escapes characters that UTF-8 cannot encode."""
    readable = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
    return {"error": {"message": readable, "type": error.type, "param": error.param, "code": error.code}}


def validation_error(errors: Sequence[Mapping[str, Any]], *, content_type: str) -> BadRequest:
    """Turns pydantic's first error about a request into one sentence that names field, value and limit."""
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
