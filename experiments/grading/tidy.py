"""Removes from an answer what says nothing: LaTeX's typography, wrappers of text, signs of delimiters."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 400  # characters of an answer that is read as mathematics; repetitive models write longer ones

_SIGNS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "²": "^2",
        "³": "^3",
        "½": r"\frac{1}{2}",
        "⅓": r"\frac{1}{3}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
        "×": r"\times ",
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "÷": "/",
        "π": r"\pi ",
        "∞": r"\infty ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "±": r"\pm ",
        "°": r"^\circ",
    }
)
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|([0-9]+|[a-z]))")
_SPACES = re.compile(r"\\[,;:! ]|\\q?quad\b|\\(?:left|right|displaystyle|limits)(?![A-Za-z])|~|\s")
_WRAPPED = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|up)?|mathrm|mathbf|mathit|mathsf|mathtt|operatorname|mbox|hbox|boldsymbol|boxed)"
    r"\s*\{([^{}]*)\}"
)
_FRACTION = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_SHORT = re.compile(r"\\frac\s*(?:([0-9])\s*([0-9])|([0-9])\s*\{([^{}]*)\}|\{([^{}]*)\}\s*([0-9]))")
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))


def tidied(text: str) -> str:
    """Returns an answer's text with LaTeX's fractions in one spelling, and without what only typesets it."""
    text = unicodedata.normalize("NFKC", _ROOT.sub(r"\\sqrt{\1\2}", text.translate(_SIGNS))).strip()
    text = text[2:-2] if text.startswith("**") and text.endswith("**") else text  # bold
    for said, meant in (("{,}", ","), (r"\%", "%"), (r"\$", "$"), ("**", "^")):
        text = text.replace(said, meant)
    text = _FRACTION.sub(r"\\frac", text)
    while (unwrapped := _WRAPPED.sub(r" \1 ", text)) != text:
        text = unwrapped
    text = _SHORT.sub(_spelt, re.sub(r"\s+\^", "^", " ".join(_SPACES.sub(" ", text).split())))
    for begin, end in _DELIMITERS:
        if text.startswith(begin) and text.endswith(end) and len(text) > len(begin) + len(end):
            text = text[len(begin) : -len(end)].strip()
    return text.rstrip(".").rstrip()


def _spelt(found: re.Match[str]) -> str:
    above, below = (part for part in found.groups() if part is not None)
    return rf"\frac{{{above}}}{{{below}}}"
