"""Where a thought ends: the marker that closes it, found in the text of its tokens, whatever tokens spell it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.formats.matching import first_ended, overlap
from models.tokenizer import Streamed


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The closing marker's place among tokens: those from `start` to before `end`."""

    start: int
    end: int
    head: str = ""  # text of the thought in the marker's first token
    tail: str = ""  # text of the answer in the marker's last token, behind what has begun it
    begun: bool = False  # the answer has begun without a closing marker, and `tail` is its beginning


class EndFinder:
    """Takes a thought's tokens as they come and finds the closing marker."""

    def __init__(self, closers: Sequence[str], stream: Callable[[], Streamed], starts: Sequence[str] = ()) -> None:
        """`stream` makes a decoder for one reply. `starts`: texts that end a thought, too, and belong to the answer."""
        self._starts = frozenset(starts)
        self._closers = (*closers, *starts)
        self._make = stream
        self._reach = 16 + max(map(len, self._closers))  # tokens; each has a character, or is a byte of one
        self._restart(0)

    def _restart(self, at: int) -> None:
        self._stream = self._make()
        self._count = self._begun = at  # tokens taken, and those before the piece of text that is not whole yet
        self._pieces: list[tuple[int, str]] = []  # that may be part of a marker: first token, text

    @property
    def undecided(self) -> int:
        """The number of tokens before those that may be part of the marker."""
        return self._pieces[0][0] if self._pieces else self._count

    @property
    def pending(self) -> bool:
        """Whether the newest text may be the beginning of the marker."""
        return bool(self._pieces)

    def push(self, token: int) -> Ending | None:
        """Takes the next token; returns the marker's place if it is complete with it."""
        self._count += 1
        piece = self._stream.push(token)
        if not piece:
            return None
        self._pieces.append((self._begun, piece))
        self._begun = self._count
        text = "".join(each for _, each in self._pieces)
        found = first_ended(text, self._closers, start=len(text) - len(piece))
        if found is not None:
            return self._ending(text, *found)
        held = overlap(text, self._closers)
        while self._pieces and len(text) - len(self._pieces[0][1]) >= held:
            text = text[len(self._pieces.pop(0)[1]) :]
        return None

    def rewind(self, thought: Sequence[int]) -> None:
        """Goes back to where the thought was `thought`, a beginning of it in which no marker was complete."""
        start = max(0, len(thought) - self._reach)
        self._restart(start)
        for token in thought[start:]:
            self.push(token)

    def _ending(self, text: str, begin: int, end: int) -> Ending:
        before = 0
        for start, piece in self._pieces:
            if begin < before + len(piece):
                begun = text[begin:end] in self._starts
                tail = text[begin if begun else end :]
                return Ending(start=start, end=self._count, head=text[before:begin], tail=tail, begun=begun)
            before += len(piece)
        raise AssertionError("a marker begins in one of the pieces")
