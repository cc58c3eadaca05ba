"""Markers in a text that comes in pieces: where one begins or ends in the middle of a piece, and what may become one.

All of it is the same however the text is cut into pieces: nothing is lost, and nothing changes places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


def overlap(text: str, markers: Iterable[str]) -> int:
    """Returns the length of the longest end of `text` that is the beginning of a marker, and no whole one."""
    longest = 0
    for marker in markers:
        for length in range(min(len(marker) - 1, len(text)), longest, -1):
            if text.endswith(marker[:length]):
                longest = length
                break
    return longest


def first_ended(text: str, markers: Iterable[str], start: int = 0) -> tuple[int, int] | None:
    """Returns begin and end of the marker in `text` that ends first; of two that end together the longer one.

    Only markers that end behind `start` count. None: there is none.
    """
    ends = []
    for marker in markers:
        at = text.find(marker, max(0, start - len(marker) + 1))
        if at >= 0:
            ends.append((at + len(marker), at))
    return min(ends)[::-1] if ends else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unshown:
    """Texts of a reply that are its format's and not its reader's."""

    thought: Mapping[str, str] = field(default_factory=dict)  # what is shown in place of each, in the thought
    answer: Mapping[str, str] = field(default_factory=dict)  # the same in the answer
    head: tuple[str, ...] = ()  # the same before the answer's first visible character


class TextFilter:
    """Puts other texts in place of markers in a stream of text; of two that begin together the longer one counts.

    Text that may be the beginning of a marker is held back until that is decided.
    """

    def __init__(self, replaced: Mapping[str, str], head: Iterable[str] = ()) -> None:
        """`replaced`: the text in place of each marker. `head`: taken out before the first visible character only."""
        self._replaced = dict(replaced)
        self._head = {marker: "" for marker in head}
        self._held = ""
        self._visible = False

    def push(self, text: str) -> str:
        """Takes the next piece; returns the text that is decided."""
        self._held += text
        return self._decided(whole=False)

    def rest(self) -> str:
        """Returns the text still held back, once: the stream has ended."""
        return self._decided(whole=True)

    def _decided(self, *, whole: bool) -> str:
        out, at, held = [], 0, self._held
        while at < len(held):
            known = self._replaced if self._visible else {**self._head, **self._replaced}
            begun = [marker for marker in known if marker[0] == held[at]]
            rest = len(held) - at
            if not whole and any(len(marker) > rest and marker.startswith(held[at:]) for marker in begun):
                break  # it may become this marker
            found = max((marker for marker in begun if held.startswith(marker, at)), key=len, default=None)
            if found is None:
                out.append(held[at])
                self._visible = self._visible or not held[at].isspace()
                at += 1
            else:
                out.append(known[found])
                at += len(found)
        self._held = held[at:]
        return "".join(out)
