"""Calls as a name and an object of arguments, `name[ARGS]{…}`, as models of Mistral, DeepSeek and Kimi write them."""

from __future__ import annotations

import re
from enum import Enum, auto

from models.tools.call_body import CallBody, Offered
from models.tools.json_text import JsonText
from models.tools.objects import ObjectsBody
from models.tools.pieces import CallPiece

_SPACE = " \t\n\r"
_NAME = re.compile(r"\s*(?:functions?\.)?([\w.-]{1,256}?)(?::\d+)?\s*")  # Kimi's: functions.NAME:0
_ID = "[CALL_ID]"


class _At(Enum):
    NAME = auto()
    ARGUMENTS = auto()
    END = auto()


class NamedBody(CallBody):
    """One call. `between` stands between the name and the arguments; Mistral's older models write objects instead."""

    def __init__(self, *, end: str, between: str, offered: Offered, index: int, eager: bool) -> None:
        super().__init__(end=end, offered=offered, index=index, eager=eager)
        self._between = between
        self._at = _At.NAME
        self._name: str | None = None
        self._value = JsonText()
        self._said = ""
        self._objects: ObjectsBody | None = None

    @property
    def unsaid(self) -> str:
        return super().unsaid if self._objects is None else self._objects.unsaid

    def push(self, text: str) -> list[CallPiece]:
        if self._objects is None:
            told = super().push(text)
            if self._objects is None:
                return told
            text, self._text = self._taken + self._text, ""
            self._taken = ""
        told = self._objects.push(text)
        self.index, self.behind, self.broken = self._objects.index, self._objects.behind, self._objects.broken
        return told

    def finish(self) -> list[CallPiece]:
        return super().finish() if self._objects is None else self._objects.finish()

    def _step(self) -> bool:
        if self._objects is not None:
            return False
        match self._at:
            case _At.NAME:
                return self._read_name()
            case _At.ARGUMENTS:
                return self._read_arguments()
            case _At.END:
                return self._read_end()

    def _read_name(self) -> bool:
        if self._text.lstrip(_SPACE)[:1] in ("[", "{"):
            self._objects = ObjectsBody(end=self.end, offered=self.offered, index=self.index, eager=self.eager)
            return True
        marks = (self._between, "{") if self._between else ("{",)
        found = self._until(*marks)
        if found is None:
            self.broken = len(self._text) > 1024
            return False
        before, mark = found
        name = _NAME.fullmatch(before.partition(_ID)[0])
        if name is None:
            self.broken = True
            return True
        self._name = name[1]
        if mark == "{":
            self._text, self._taken = mark + self._text, self._taken[:-1]
        self._at = _At.ARGUMENTS
        return True

    def _read_arguments(self) -> bool:
        if not self._said:
            self._skip(_SPACE)
            if not self._text:
                return False
            if self._text[0] != "{":
                self.broken = True
                return True
            if self.eager:
                self._tell("", name=self._name)
        had = len(self._text)
        clean, rest = self._value.push(self._text)
        self._take(had - len(rest))
        self._said += clean
        if self.eager and clean:
            self._tell(clean)
        if self._value.broken:
            self._spoil()
            return True
        if not self._value.complete:
            return False
        if not self.eager:
            self._tell(self._said, name=self._name)
        self._at = _At.END
        return True

    def _spoil(self) -> None:
        """The arguments are no JSON: what was told of them stays, the rest is content."""
        if self.eager:
            self._next()
            self.behind, self._text = self._text, ""
        else:
            self.broken = True

    def _read_end(self) -> bool:
        if not self.end:
            self._next()
            self.behind, self._text = self._text, ""
            return True
        self._skip(_SPACE)
        if not self._text or self._may_end():
            return False
        self._next()
        if not self._ended():
            self.behind, self._text = self._text, ""
        return True
