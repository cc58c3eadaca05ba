"""Reads an answer as one exact number."""

from __future__ import annotations

import re
from fractions import Fraction

from experiments.grading.tidy import LONGEST

NUMBERS = re.compile(  # in a reply; the sign is not the minus of a subtraction
    r"(?:(?<![\w)])[-+])?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?:/[0-9]+)?|\.[0-9]+)"
)
_DECIMAL = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_ONE_NUMBER = re.compile(rf"([+-]?{_DECIMAL})(?:[eE]([+-]?[0-9]{{1,2}}))?(?:/([0-9]*[1-9][0-9]*))?")
_SCIENTIFIC = re.compile(rf"([+-]?{_DECIMAL})\\(?:times|cdot)10\^(?:\{{([+-]?[0-9]{{1,3}})\}}|([0-9]))")
_FRACTION = re.compile(r"([+-]?)\\frac\{([+-]?[0-9]+)\}\{([0-9]*[1-9][0-9]*)\}")
_MIXED = re.compile(r"([+-]?)([0-9]+)(?:\s+([0-9]+)/([0-9]*[1-9][0-9]*)|\s*\\frac\{([0-9]+)\}\{([0-9]*[1-9][0-9]*)\})")
_BLANKS = re.compile(r"(?<![0-9.])\s+|\s+(?![0-9.])|(?<=[0-9])\s+(?=[0-9]{3}(?![0-9]))")  # 70 000, but not 1 2
_SURE = 6  # digits of a decimal that may stand for a fraction whose decimals never end


def plain(text: str) -> str:
    """Removes LaTeX and typography around numbers: \\$ \\, {,} − and the like."""
    text = text.replace("−", "-").replace("{,}", ",")
    return re.sub(r"\\[,;:! ]|\\?[$%]", "", text)


def number(text: str) -> Fraction | None:
    """Returns the number that a text is: whole, decimal, a fraction, mixed, grouped by commas; None: it is none."""
    text = plain(text).strip().rstrip(".")
    if len(text) > LONGEST:
        return None
    if (mixed := _MIXED.fullmatch(text)) is not None:
        sign, whole, *parts = mixed.groups()
        above, below = (int(part) for part in parts if part is not None)
        return Fraction(f"{sign}1") * (int(whole) + Fraction(above, below)) if above < below else None
    bare = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", _BLANKS.sub("", text))
    if (fraction := _FRACTION.fullmatch(bare)) is not None:
        return Fraction(f"{fraction[1]}1") * Fraction(int(fraction[2]), int(fraction[3]))
    if (scientific := _SCIENTIFIC.fullmatch(bare)) is not None:
        return Fraction(scientific[1]) * Fraction(10) ** int(scientific[2] or scientific[3])
    found = _ONE_NUMBER.fullmatch(bare)
    return None if found is None else Fraction(found[1]) * Fraction(10) ** int(found[2] or 0) / Fraction(found[3] or 1)


def rounds_to(said: str, value: Fraction) -> bool:
    """Whether a decimal of at least six digits is a fraction whose decimals never end, rounded or cut."""
    found = re.fullmatch(r"[+-]?([0-9]*)\.([0-9]+)", plain(said).strip().rstrip("."))
    if found is None or len((found[1] + found[2]).lstrip("0")) < _SURE or _ends(value):
        return False
    shown = number(said)
    if shown is None or shown * value < 0:
        return False
    unit, off = Fraction(1, 10 ** len(found[2])), abs(value) - abs(shown)
    return abs(off) <= unit / 2 or 0 <= off < unit


def _ends(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1
