"""What a request says in words, as far as its kind of answer is told from it."""

from __future__ import annotations

import re
from dataclasses import dataclass

LOOKED_AT = 4_000  # characters at either end of a text: what a long one asks for stands there


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The last thing that was asked, and what the system's messages say."""

    asked: str
    system: str = ""


_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"(?: ?\n)+ ?")


def ends_of(text: str) -> str:
    """Returns the beginning and the end of a text, or all of it where it is short, with no two blanks in a row."""
    if len(text) > 2 * LOOKED_AT:
        text = f"{text[:LOOKED_AT]}\n{text[-LOOKED_AT:]}"
    return _LINES.sub("\n", _BLANKS.sub(" ", text)).strip()
