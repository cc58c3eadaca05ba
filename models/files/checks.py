"""Checks that many settings need: a dataclass calls them in `__post_init__` with the names of its fields.

A field that is None is not given, and passes.
"""

from __future__ import annotations

import math
import unicodedata

LONGEST = 80  # characters of a name
SMALLEST = 1e-9  # of what must be above 0: nobody means less, and dividing by less overflows
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # Unicode's categories of what is no visible text


def positive(settings: object, *names: str, least: float | None = None) -> None:
    """Raises ValueError unless each of these fields is finite and above 0, and at least `least`; None: SMALLEST."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and (limit := outside(value, least)) is not None:
            raise ValueError(f"{name} is {value}, must be {limit}")


def outside(value: float, least: float | None = None) -> str | None:
    """Returns what a number must be that is not finite, above 0 and at least `least`, None: SMALLEST; None: it is."""
    if not math.isfinite(value) or value <= 0.0:
        return "finite and above 0" if least is None else f"finite and at least {least:g}"
    least = SMALLEST if least is None else least
    return None if value >= least else f"at least {least:g}"


def not_negative(settings: object, *names: str) -> None:
    """Raises ValueError unless each of these fields is finite and at least 0."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not (math.isfinite(value) and value >= 0.0):
            raise ValueError(f"{name} is {value}, must be finite and at least 0")


def one_line(settings: object, *names: str) -> None:
    """Raises ValueError unless each of these texts is one line of visible text, of at most LONGEST characters.

    The message does not show the text: it may be a secret in the wrong place.
    """
    for name in names:
        value = getattr(settings, name)
        if value is None:
            continue
        if not value.strip():
            raise ValueError(f"{name} is empty, must have at least 1 character")
        if len(value) > LONGEST:
            raise ValueError(f"{name} has {len(value)} characters, must have at most {LONGEST}")
        if any(unicodedata.category(each) in UNSEEN for each in value):
            raise ValueError(f"{name} has a line end or another control character, must be one line of visible text")


def at_least(settings: object, least: int, *names: str) -> None:
    """Raises ValueError unless each of these fields is at least `least`."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}, must be at least {least}")
