"""The API surfaces: the endpoints that reply."""

from __future__ import annotations

from typing import Any

from laser.server.api.anthropic.errors import anthropic_body
from laser.server.api.anthropic.messages import MESSAGES
from laser.server.api.chat import CHAT
from laser.server.api.completions import COMPLETIONS
from laser.server.api.errors import ApiError, openai_body
from laser.server.api.ollama.chat import OLLAMA_CHAT
from laser.server.api.ollama.errors import ollama_body
from laser.server.api.ollama.generate import OLLAMA_GENERATE
from laser.server.api.responses import RESPONSES
from laser.server.api.shape import Surface

SURFACES: tuple[Surface, ...] = (CHAT, COMPLETIONS, RESPONSES, MESSAGES, OLLAMA_CHAT, OLLAMA_GENERATE)
FAMILIES = {"/v1/messages/": anthropic_body, "/api/": ollama_body}
"""Beginnings of paths whose clients read errors in a format of their own."""


def error_body(path: str, error: ApiError) -> dict[str, Any]:
    """Returns an error's JSON in the format of the surface at `path`, or of the API it belongs to; else in OpenAI's."""
    own = [surface.error_body for surface in SURFACES if surface.path == path]
    own += [body for beginning, body in FAMILIES.items() if path.startswith(beginning)]
    return next(iter(own), openai_body)(error)
