"""What is wrong with a GGUF file."""

from __future__ import annotations

from models.errors import LaserError


class GGUFError(LaserError, ValueError):
    """A GGUF file that cannot be used; the message names the file and says why, in one line."""
