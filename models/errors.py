"""The root of the errors that a user can cause or mend; each package derives its own."""

from __future__ import annotations


class LaserError(Exception):
    """Something that a user gave or has cannot be used; the message says what, in words for that user."""
