"""A template's own text, which carries its markers hidden beside the text that templates compare and split by."""

from __future__ import annotations

from typing import SupportsIndex


class Marked(str):
    """A text of the chat template. As a value it is the text; printed by the template it is `hidden`.

    So the template's comparisons, searches and splits see ordinary text, and only what the template itself prints has
    hidden markers. Methods that are not overridden return the ordinary text, whose markers are plain text.
    """

    hidden: str

    def __new__(cls, text: str, hidden: str) -> Marked:
        made = super().__new__(cls, text)
        made.hidden = hidden
        return made

    def __str__(self) -> str:
        return self.hidden

    def __format__(self, spec: str) -> str:
        return format(self.hidden, spec)

    def __add__(self, other: str) -> Marked:
        return Marked(str.__add__(self, other), self.hidden + hidden(other))

    def __radd__(self, other: str) -> Marked:
        return Marked(plain(other) + plain(self), hidden(other) + self.hidden)

    def __mul__(self, times: SupportsIndex) -> Marked:
        return Marked(plain(self) * times, self.hidden * times)

    def strip(self, chars: str | None = None, /) -> Marked:
        return Marked(str.strip(self, chars), self.hidden.strip(chars))

    def lstrip(self, chars: str | None = None, /) -> Marked:
        return Marked(str.lstrip(self, chars), self.hidden.lstrip(chars))

    def rstrip(self, chars: str | None = None, /) -> Marked:
        return Marked(str.rstrip(self, chars), self.hidden.rstrip(chars))


def hidden(text: str) -> str:
    """Returns a text as the template prints it."""
    return text.hidden if isinstance(text, Marked) else text


def plain(text: str) -> str:
    """Returns a text as the template compares it."""
    return str.__str__(text)


def replace(text: str, old: str, new: str, count: int | None = None) -> str:
    """Replaces as Jinja's filter does, in texts of the template as well as in others."""
    times = -1 if count is None else count
    shown = str.replace(plain(text), plain(old), plain(new), times)
    if not isinstance(text, Marked) and not isinstance(new, Marked):
        return shown
    searched = hidden(old) if isinstance(text, Marked) else plain(old)
    return Marked(shown, hidden(text).replace(searched, hidden(new), times))
