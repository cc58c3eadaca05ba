"""One JSON value in a text that comes in pieces: where it ends, and whether it is one."""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from typing import Any

_SPACE = " \t\n\r"
_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')  # in a string
_WORD = re.compile(r"[-+.\w]+")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = frozenset(("true", "false", "null"))
_ESCAPES = '"\\/bfnrt'


class _At(Enum):
    """What may come next."""

    VALUE = auto()
    FIRST_VALUE = auto()  # or the end of the list
    KEY = auto()
    FIRST_KEY = auto()  # or the end of the object
    COLON = auto()
    NEXT = auto()  # a comma, or the end of the list or the object
    STRING = auto()
    ESCAPE = auto()
    HEX = auto()
    WORD = auto()  # a number, true, false or null


class JsonText:
    """Takes the text of one value. Line ends and other controls in its strings, which JSON forbids, become escapes."""

    def __init__(self) -> None:
        self.complete = False
        self.broken = False  # what has come is no JSON, and nothing that follows makes it any
        self._at = _At.VALUE
        self._open: list[str] = []  # the end of each object and list that is open
        self._key = False  # the string is a key
        self._word = ""
        self._digits = 0  # that an escape still needs

    def push(self, text: str) -> tuple[str, str]:
        """Takes what belongs to the value; returns that as JSON, and the text behind it."""
        out: list[str] = []
        at = 0
        while at < len(text) and not (self.complete or self.broken):
            at = self._step(text, at, out)
        return "".join(out), text[at:]

    def _step(self, text: str, at: int, out: list[str]) -> int:
        """Takes some characters from place `at` on; returns the place behind them."""
        match self._at:
            case _At.STRING:
                return self._string(text, at, out)
            case _At.WORD:
                return self._more_of_word(text, at, out)
        character = text[at]
        if self._at is _At.ESCAPE:
            self._digits = 4 if character == "u" else 0
            self._at = _At.HEX if self._digits else _At.STRING
            self.broken = character not in _ESCAPES + "u"
        elif self._at is _At.HEX:
            self._digits -= 1
            self._at = _At.HEX if self._digits else _At.STRING
            self.broken = character not in "0123456789abcdefABCDEF"
        elif character not in _SPACE and self._structure(character):
            return at
        if not self.broken:
            out.append(character)
            return at + 1
        return at

    def _string(self, text: str, at: int, out: list[str]) -> int:
        plain = _PLAIN.match(text, at)
        if plain is not None:
            out.append(plain[0])
            return plain.end()
        character = text[at]
        if character == '"':
            out.append(character)
            if self._key:
                self._at, self._key = _At.COLON, False
            else:
                self._ended()
        elif character == "\\":
            out.append(character)
            self._at = _At.ESCAPE
        else:
            out.append(json.dumps(character)[1:-1])
        return at + 1

    def _more_of_word(self, text: str, at: int, out: list[str]) -> int:
        found = _WORD.match(text, at)
        if found is not None:
            self._word += found[0]
            out.append(found[0])
            return found.end()
        self.broken = self._word not in _WORDS and _NUMBER.fullmatch(self._word) is None
        self._ended()
        return at

    def _structure(self, character: str) -> bool:
        """Takes a character outside strings and words; returns whether it begins a word, and is not taken."""
        match self._at, character:
            case ((_At.VALUE | _At.FIRST_VALUE), "{"):
                self._open.append("}")
                self._at = _At.FIRST_KEY
            case ((_At.VALUE | _At.FIRST_VALUE), "["):
                self._open.append("]")
                self._at = _At.FIRST_VALUE
            case ((_At.VALUE | _At.FIRST_VALUE), '"'):
                self._at = _At.STRING
            case ((_At.KEY | _At.FIRST_KEY), '"'):
                self._at, self._key = _At.STRING, True
            case _At.COLON, ":":
                self._at = _At.VALUE
            case _At.NEXT, ",":
                self._at = _At.KEY if self._open[-1] == "}" else _At.VALUE
            case ((_At.NEXT | _At.FIRST_KEY | _At.FIRST_VALUE), ("}" | "]")) if self._open[-1] == character:
                self._open.pop()
                self._ended()
            case ((_At.VALUE | _At.FIRST_VALUE), _) if _WORD.match(character):
                self._at, self._word = _At.WORD, ""
                return True
            case _:
                self.broken = True
        return False

    def _ended(self) -> None:
        """A value has ended."""
        self._at = _At.NEXT
        self.complete = not self._open and not self.broken


def value_of(text: str) -> Any:
    """Returns the value of a JSON text. Raises ValueError if there is none, or none that Python reads or JSON has."""
    try:
        value = json.loads(text, strict=False, parse_constant=_refuse)
        json_of(value).encode()
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    return value


def json_of(value: Any) -> str:
    """Returns a value as JSON. Raises ValueError for a number that JSON does not have."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
