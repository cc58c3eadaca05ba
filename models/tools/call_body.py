"""What stands between the markers of calls, as it comes. Each way of writing it is a module with a `CallBody`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias

from models.tools.pieces import CallPiece

Offered: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The tools of a request: the JSON schema of each one's parameters, by name."""


class CallBody(ABC):
    """The text between a begin marker and its end. It tells calls, and gives back what turns out to be none.

    A call is told when it is whole; if `eager`, from its arguments' first character on. Then it stays a call, and
    arguments that are no JSON after all are told as they are.
    """

    def __init__(self, *, end: str, offered: Offered, index: int, eager: bool) -> None:
        """`end`: the marker behind the calls; empty: they end with what is none. `index`: of the first call."""
        self.end = end
        self.offered = offered
        self.index = self._first = index
        self.eager = eager
        self.behind: str | None = None  # the text behind the end; None: the end has not come
        self.broken = False  # what has come since the last call is none
        self._text = ""  # that has not been looked at
        self._sought = 0  # characters of it in which no marker was found
        self._taken = ""  # that has been looked at, and is of no call that was told
        self._told: list[CallPiece] = []
        self._open = False  # a call is told whose end has not come

    @property
    def unsaid(self) -> str:
        """All text that is of no call told so far."""
        return self._taken + self._text

    def push(self, text: str) -> list[CallPiece]:
        """Takes the next text; returns what is told with it."""
        self._text += text
        while self.behind is None and not self.broken and self._step():
            pass
        told, self._told = self._told, []
        return told

    def finish(self) -> list[CallPiece]:
        """The answer has ended: returns what is told only now. What is no call then is `unsaid`."""
        if self._open or (self.index > self._first and self._may_end()):
            self._text = self._taken = ""
        told, self._told = self._told, []
        return told

    @abstractmethod
    def _step(self) -> bool:
        """Takes some text; returns False if more must come before that is possible."""

    # --- for the kinds of bodies ------------------------------------------------------------------------------------

    def _take(self, characters: int) -> str:
        """Looks at the next characters."""
        taken, self._text = self._text[:characters], self._text[characters:]
        self._taken += taken
        self._sought = 0
        return taken

    def _skip(self, characters: str) -> None:
        """Takes the next characters that are among these."""
        self._take(len(self._text) - len(self._text.lstrip(characters)))

    def _until(self, *markers: str) -> tuple[str, str] | None:
        """Takes the text before the marker that comes first, and the marker; returns both. None: none has come."""
        start = max(0, self._sought - max(map(len, markers)))
        found = [(at, marker) for marker in markers if (at := self._text.find(marker, start)) >= 0]
        if not found:
            self._sought = len(self._text)
            return None
        at, marker = min(found)
        before = self._take(at)
        return before, self._take(len(marker))

    def _ended(self) -> bool:
        """Whether the end marker comes next; takes it. If no call has come before it, all this is none."""
        if not self.end or not self._text.startswith(self.end):
            return False
        if self.index == self._first:
            self.broken = True
            return True
        self.behind, self._text, self._taken = self._text[len(self.end) :], "", ""
        return True

    def _may_end(self) -> bool:
        """Whether the next text may be the beginning of the end marker."""
        return len(self._text) < len(self.end) and self.end.startswith(self._text)

    def _tell(self, arguments: str, *, name: str | None = None) -> None:
        """Tells a piece of the present call; what was taken is the call's."""
        self._told.append(CallPiece(index=self.index, name=name, arguments=arguments))
        self._taken, self._open = "", True

    def _next(self) -> None:
        """The present call is whole."""
        self.index += 1
        self._taken, self._open = "", False
