"""What a reply with tools is made of: content, calls in pieces, and now and then a further thought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Text for the reader."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherThought:
    """Text of a thought that the model has behind the first one."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPiece:
    """A piece of a call. The pieces of one call follow one another."""

    index: int  # the call's place among the reply's, from 0
    name: str | None = None  # of the tool, with the call's first piece; None: a further piece
    arguments: str = ""  # the next piece of the arguments' JSON


Piece: TypeAlias = Content | FurtherThought | CallPiece


class CallReader(Protocol):
    """Reads the calls of one answer from its text, however that is cut into pieces."""

    def push(self, text: str) -> Iterator[Piece]:
        """Takes the next text; yields what is decided."""

    def rest(self) -> Iterator[Piece]:
        """Yields what is held back, once: the answer has ended."""


class Speaker:
    """Content between calls: white space around a call is dropped, all other text is said."""

    def __init__(self) -> None:
        self._space = ""  # at the end of what was said; said with what follows
        self._begun = True  # the next white space is the answer's own, not a call's

    def say(self, text: str) -> Iterator[Content]:
        """Yields a text, but for the white space at its end, which may stand before a call."""
        if not self._begun and not self._space:
            text = text.lstrip()
        text = self._space + text
        said = text.rstrip()
        self._space = text[len(said) :]
        if said:
            self._begun = True
            yield Content(text=said)

    def call(self) -> None:
        """A call begins or ends here."""
        self._space, self._begun = "", False

    def rest(self) -> Iterator[Content]:
        """Yields the white space at the answer's end."""
        if self._space:
            yield Content(text=self._space)
        self._space = ""
