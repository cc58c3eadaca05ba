"""Errors in Ollama's format."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from laser.server.api.errors import ApiError, openai_body


class OllamaError(BaseModel):
    """An error, as Ollama's clients read it."""

    error: str  # what was wrong: the value and the limit


def ollama_body(error: ApiError) -> dict[str, Any]:
    """Returns an error's JSON in Ollama's format."""
    return OllamaError(error=openai_body(error)["error"]["message"]).model_dump()
