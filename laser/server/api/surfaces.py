"""The API surfaces: the endpoints that reply."""

from __future__ import annotations

from typing import Any

from laser.server.api.chat import CHAT
from laser.server.api.completions import COMPLETIONS
from laser.server.api.errors import ApiError, openai_body
from laser.server.api.responses import RESPONSES
from laser.server.api.shape import Surface

SURFACES: tuple[Surface, ...] = (CHAT, COMPLETIONS, RESPONSES)


def error_body(path: str, error: ApiError) -> dict[str, Any]:
    """Returns an error's JSON in the format of the surface at `path`; elsewhere in OpenAI's format."""
    return next((surface.error_body for surface in SURFACES if surface.path == path), openai_body)(error)
