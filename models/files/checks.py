"""Checks that many settings need: a dataclass calls them in `__post_init__` with the names of its fields.

A field that is None is not given, and passes.
"""

from __future__ import annotations

import math


def positive(settings: object, *names: str) -> None:
    """Raises ValueError unless each of these fields is finite and above 0."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"{name} is {value}, must be finite and above 0")


def not_negative(settings: object, *names: str) -> None:
    """Raises ValueError unless each of these fields is finite and at least 0."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not (math.isfinite(value) and value >= 0.0):
            raise ValueError(f"{name} is {value}, must be finite and at least 0")


def at_least(settings: object, least: int, *names: str) -> None:
    """Raises ValueError unless each of these fields is at least `least`."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}, must be at least {least}")
