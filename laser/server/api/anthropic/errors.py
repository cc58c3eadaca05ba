"""Errors in Anthropic's format."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel

from laser.server.api.errors import ApiError, ErrorCode, openai_body

TOO_LONG = "prompt is too long: "  # by these words clients know that the conversation must be made shorter


class MessagesErrorType(StrEnum):
    """The kind of an error, in Anthropic's words."""

    REQUEST = "invalid_request_error"  # the request is wrong
    KEY = "authentication_error"  # the key is missing or unknown
    PERMISSION = "permission_error"  # the key or the host name may not do this
    NOT_FOUND = "not_found_error"  # another model is served, or there is no such path
    TOO_LARGE = "request_too_large"  # the body has too many bytes
    RATE_LIMIT = "rate_limit_error"  # too many requests wait already
    SERVER = "api_error"  # the request may be right, the server could not answer it
    OVERLOADED = "overloaded_error"  # the server is about to end, or its engine is broken
    TIMEOUT = "timeout_error"  # the request's own deadline passed while it waited


BY_STATUS = {
    401: MessagesErrorType.KEY,
    403: MessagesErrorType.PERMISSION,
    404: MessagesErrorType.NOT_FOUND,
    413: MessagesErrorType.TOO_LARGE,
    429: MessagesErrorType.RATE_LIMIT,
    500: MessagesErrorType.SERVER,
    503: MessagesErrorType.OVERLOADED,
    504: MessagesErrorType.TIMEOUT,
}


class MessagesErrorDetails(BaseModel):
    """What was wrong with a request."""

    type: MessagesErrorType  # kind of the error
    message: str  # what was wrong: the value and the limit


class MessagesError(BaseModel):
    """An error, as Anthropic's clients read it."""

    type: Literal["error"] = "error"  # kind of the object
    error: MessagesErrorDetails  # what was wrong


def anthropic_body(error: ApiError) -> dict[str, Any]:
    """Returns an error's JSON in Anthropic's format."""
    kind = BY_STATUS.get(error.status, MessagesErrorType.REQUEST)
    message = openai_body(error)["error"]["message"]
    if error.code is ErrorCode.CONTEXT:
        message = f"{TOO_LONG}{message}"
    return MessagesError(error=MessagesErrorDetails(type=kind, message=message)).model_dump(mode="json")
