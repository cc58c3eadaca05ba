"""Errors of the HTTP API, and OpenAI's format for them. A surface may have a format of its own.

ApiError
├── BadRequest          400  the request itself is wrong
│   ├── ContextTooLong  400  prompt and reply do not fit the model's context
│   ├── TooLarge        413  the body has too many bytes
│   ├── EncodedBody     415  the body is compressed
│   └── HeadTooLarge    431  the request line and the headers have too many bytes
├── Unauthorized        401  the key is missing or unknown
├── Forbidden           403  the key may not do this
├── UnknownModel        404  the server serves another model
├── UnknownReply        404  no reply with this id is in progress
├── HttpError           4xx  the web framework refuses path, method or body
├── Busy                429  too many requests wait already; says when to retry
├── ServerFailure       500  the request was valid, the server failed
├── Unavailable         503  the server is shutting down, or its engine is broken or was lost under the request
└── DeadlineMissed      504  the request's own deadline passed while the request waited
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from reprlib import Repr
from typing import Any

from pydantic import BaseModel

from laser.server.api.headers import ResponseHeader

SHOWN = 80  # characters of a client's value that an error repeats
MOST_WORDS = 600  # characters of a message, whatever is in it

_SHORT = Repr()
_SHORT.maxlevel = 4
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = SHOWN
_SHORT.maxlong = _SHORT.maxother = 4 * SHOWN


def shown(value: object, most: int = SHOWN) -> str:
    """Returns a client's value as errors repeat it: its `repr`, cut to `most` characters."""
    if isinstance(value, str | bytes):
        value, whole = value[: most + 1], value
        return clipped(repr(value), most) if len(whole) <= most else f"{repr(value)[:most]}…"
    return clipped(_SHORT.repr(value), most)


def clipped(text: str, most: int = SHOWN) -> str:
    """Returns a text cut to `most` characters, and a mark of the cut."""
    return text if len(text) <= most else f"{text[:most]}…"


class ErrorType(StrEnum):
    """The kind of an error, in OpenAI's words."""

    REQUEST = "invalid_request_error"  # the request is wrong, or what it asks for is not here
    KEY = "authentication_error"  # the key is missing or unknown
    PERMISSION = "permission_error"  # the key or the host name may not do this
    RATE_LIMIT = "rate_limit_error"  # too many requests wait already
    SERVER = "server_error"  # the request may be right, the server could not answer it


class ErrorCode(StrEnum):
    """An error in one word."""

    CONTEXT = "context_length_exceeded"  # prompt and reply do not fit the model's context
    TOO_LARGE = "request_too_large"  # the body has too many bytes
    ENCODING = "unsupported_content_encoding"  # the body is compressed
    HEAD_TOO_LARGE = "headers_too_large"  # URL and headers have too many bytes
    JSON = "invalid_json"  # the body is not JSON, or holds too much
    KEY = "invalid_api_key"  # the key is missing or unknown
    MODEL = "model_not_found"  # another model is served
    NOT_FOUND = "not_found"  # there is no such path, and no reply of that id in progress
    METHOD = "method_not_allowed"  # the path takes another method
    OVERLOADED = "overloaded"  # too many requests wait; `retry-after` says when to come back
    # the server is about to end, its engine is broken, or its engine's process has ended under the request
    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline_exceeded"  # the request's own deadline passed while it waited


class ApiError(Exception):
    """An error that is sent to the client."""

    status = 500
    type: ErrorType = ErrorType.SERVER

    def __init__(self, message: str, *, param: str | None = None, code: ErrorCode | None = None) -> None:
        super().__init__(clipped(message, MOST_WORDS))
        self.param = None if param is None else clipped(param)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:  # errors come from another process, too
        return _restored, (type(self), str(self), self.__dict__)

    @property
    def headers(self) -> dict[str, str]:
        """The response's additional headers."""
        return {}


def _restored(kind: type[ApiError], message: str, state: dict[str, Any]) -> ApiError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class BadRequest(ApiError):
    """The request is wrong; the message names the value and the limit."""

    status = 400
    type = ErrorType.REQUEST


class ContextTooLong(BadRequest):
    """Prompt and reply together do not fit the model's context."""

    def __init__(self, message: str, *, param: str | None) -> None:
        super().__init__(message, param=param, code=ErrorCode.CONTEXT)


class TooLarge(BadRequest):
    """The body has too many bytes."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body must have at most {limit} bytes", code=ErrorCode.TOO_LARGE)


class EncodedBody(BadRequest):
    """The body is compressed."""

    status = 415

    def __init__(self, encoding: str) -> None:
        message = f"the Content-Encoding is {shown(encoding)}, must be 'identity' or left out: send the body as it is"
        super().__init__(message, code=ErrorCode.ENCODING)

    @property
    def headers(self) -> dict[str, str]:
        return {ResponseHeader.ACCEPT_ENCODING: "identity"}


class HeadTooLarge(BadRequest):
    """The request line and the headers have too many bytes."""

    status = 431

    def __init__(self, limit: int) -> None:
        super().__init__(f"URL and headers must have at most {limit} bytes", code=ErrorCode.HEAD_TOO_LARGE)


class Unauthorized(ApiError):
    """The key is missing or unknown."""

    status = 401
    type = ErrorType.KEY

    def __init__(self, message: str) -> None:
        super().__init__(message, code=ErrorCode.KEY)

    @property
    def headers(self) -> dict[str, str]:
        return {ResponseHeader.AUTHENTICATE: "Bearer"}


class Forbidden(ApiError):
    """The key may not do this."""

    status = 403
    type = ErrorType.PERMISSION


class UnknownModel(ApiError):
    """The model asked for is not served here."""

    status = 404
    type = ErrorType.REQUEST

    def __init__(self, name: str, known: Sequence[str]) -> None:
        known_names = ", ".join(repr(each) for each in known)
        message = f"the model {shown(name)} does not exist here; known: {known_names}"
        super().__init__(message, param="model", code=ErrorCode.MODEL)


class UnknownReply(ApiError):
    """No reply with this id is in progress."""

    status = 404
    type = ErrorType.REQUEST

    def __init__(self, name: str) -> None:
        super().__init__(f"no reply {shown(name)} is being made here", param="id", code=ErrorCode.NOT_FOUND)


class HttpError(ApiError):
    """The web framework refuses the path, the method or the body."""

    def __init__(self, message: str, *, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(message, code={404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD}.get(status))
        self.status = status
        self.type = ErrorType.REQUEST if status < 500 else ErrorType.SERVER
        self._headers = dict(headers)

    @property
    def headers(self) -> dict[str, str]:
        return self._headers


class Busy(ApiError):
    """Too many requests wait already."""

    status = 429
    type = ErrorType.RATE_LIMIT

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(f"{message}; try again in {retry_after_s:.1f} s", code=ErrorCode.OVERLOADED)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        return retry_after(self.retry_after_s)


class ServerFailure(ApiError):
    """The server failed on a valid request."""


class Unavailable(ApiError):
    """The server accepts no more requests, or has lost this one with its engine's process: it may be sent again."""

    status = 503

    def __init__(self, message: str) -> None:
        super().__init__(message, code=ErrorCode.UNAVAILABLE)

    @property
    def headers(self) -> dict[str, str]:
        return retry_after(1.0)  # by then another process may listen here


class DeadlineMissed(ApiError):
    """The request's own deadline passed while the request waited."""

    status = 504

    def __init__(self, message: str) -> None:
        super().__init__(message, code=ErrorCode.DEADLINE)

    @property
    def headers(self) -> dict[str, str]:
        return {
            ResponseHeader.SHOULD_RETRY: "false"
        }  # OpenAI's clients would retry with a new deadline, just in an overload


def retry_after(seconds: float) -> dict[str, str]:
    """Returns the retry-after headers: whole seconds for all clients, milliseconds for OpenAI's."""
    return {
        ResponseHeader.RETRY_AFTER: str(max(1, math.ceil(seconds))),
        ResponseHeader.RETRY_AFTER_MS: str(max(1, math.ceil(seconds * 1e3))),
    }


def openai_body(error: ApiError) -> dict[str, Any]:
    """Returns an error's JSON in OpenAI's format; escapes characters that UTF-8 cannot encode."""
    readable = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
    return {"error": {"message": readable, "type": error.type, "param": error.param, "code": error.code}}


def validation_error(errors: Sequence[Mapping[str, Any]], *, content_type: str) -> BadRequest:
    """Turns pydantic's first error about a request into one sentence that names field, value and limit."""
    first = errors[0]
    kind, context = first["type"], first.get("ctx") or {}
    param = ".".join(clipped(str(part)) for part in first["loc"] if part != "body") or None
    if kind == "json_invalid":
        return BadRequest(f"the body is not JSON: {context.get('error', first['msg'])}", code=ErrorCode.JSON)
    if param is None:
        return no_object(content_type)
    value = shown(first.get("input"))
    sentence = {
        "missing": f"{param} is missing",
        "greater_than_equal": f"{param} is {value}, must be at least {context.get('ge')}",
        "greater_than": f"{param} is {value}, must be above {context.get('gt')}",
        "less_than_equal": f"{param} is {value}, must be at most {context.get('le')}",
        "literal_error": f"{param} is {value}, must be one of {context.get('expected')}",
        "value_error": f"{param}: {clipped(str(context.get('error')), 3 * SHOWN)}",
        "too_short": f"{param} has {context.get('actual_length')} entries, needs {context.get('min_length')} or more",
        "too_long": f"{param} has {context.get('actual_length')} entries, must be at most {context.get('max_length')}",
    }.get(kind)
    return BadRequest(sentence or f"{param} is {value}: {first['msg'][:1].lower()}{first['msg'][1:]}", param=param)


def is_json(content_type: str) -> bool:
    """Whether a Content-Type says that the body is JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def no_object(content_type: str) -> BadRequest:
    """Returns the error for a body that is no JSON object, or does not claim to be JSON."""
    if not is_json(content_type):
        return BadRequest(f"the Content-Type is {shown(content_type)}, must be 'application/json'")
    return BadRequest("the body must be a JSON object")


class ErrorDetails(BaseModel):
    """What was wrong."""

    message: str  # what was wrong: the value and the limit
    type: ErrorType  # kind of the error
    param: str | None  # the field of the request that was wrong; null: none alone
    code: ErrorCode | None  # the error in one word; null: the status and the message tell all


class ErrorReply(BaseModel):
    """An error, as OpenAI's clients read it."""

    error: ErrorDetails  # what was wrong
