"""What a misspelled name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LIKE = 0.6  # difflib's ratio of two names from which one may be meant by the other


def nearest(name: str, known: Iterable[str], like: float = LIKE) -> str | None:
    """Returns the known name that is most like `name`; None: none is."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=like)), None)


def meant(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean `…`?" with the known name that is most like `name`; empty: none is like it."""
    close = nearest(name, known)
    return "" if close is None else f"; did you mean `{close}`?"
