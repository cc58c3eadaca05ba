"""Calls in an answer as it comes: which text is a call, and which is content."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

from models.formats.matching import first_ended, overlap
from models.tools.call_body import CallBody, Offered
from models.tools.channels import ChannelReader
from models.tools.form import FORMS, CallForm, CallFormat, CallStyle
from models.tools.named import NamedBody
from models.tools.objects import ObjectsBody
from models.tools.pieces import CallPiece, CallReader, Piece, Speaker
from models.tools.python_text import PythonBody
from models.tools.tagged import TaggedBody


def reader_of(name: CallFormat, offered: Offered, *, eager: bool) -> CallReader:
    """Returns what reads the calls of one answer.

    `eager`: a call is told as it comes, for a stream; else when it is whole, so that what turns out to be none is
    content.
    """
    form = FORMS[name]
    return ChannelReader(eager=eager) if form.style is CallStyle.CHANNELS else MarkedReader(form, offered, eager=eager)


class MarkedReader:
    """Reads an answer in which calls begin with a marker, or may be the whole of it. All other text is content."""

    def __init__(self, form: CallForm, offered: Offered, *, eager: bool) -> None:
        self._form = form
        self._offered = offered
        self._eager = eager
        self._held = ""  # text that is not decided
        self._body: CallBody | None = None  # of the calls that come; None: content comes
        self._begin = ""  # the marker before it, while no call of it is told
        self._fresh = form.bare  # nothing visible has come, so a call may come without a marker
        self._index = 0
        self._speaker = Speaker()

    def push(self, text: str) -> Iterator[Piece]:
        self._held += text
        while self._held:
            if self._body is None and not (yield from self._look_for_call()):
                return
            if self._body is not None:
                yield from self._read_calls()

    def _look_for_call(self) -> Generator[Piece, None, bool]:
        """Says the content that comes next; returns whether there is more to be done with what is held."""
        if self._fresh:
            bare = self._held.lstrip()
            if not bare:
                return False
            self._fresh = False
            if bare[0] in "{[":
                self._open("", bare)
                return True
        marks = (self._form.begin, *self._form.around)
        found = first_ended(self._held, marks)
        if found is None:
            keep = overlap(self._held, marks)
            said, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
            yield from self._speaker.say(said)
            return False
        start, end = found
        yield from self._speaker.say(self._held[:start])
        marker, self._held = self._held[start:end], self._held[end:]
        if marker == self._form.begin:
            self._open(marker, self._held)
        return True

    def _open(self, begin: str, text: str) -> None:
        """Calls may begin with `text`, behind the marker `begin`."""
        self._begin, self._held = begin, text
        form, offered, index, eager = self._form, self._offered, self._index, self._eager
        if form.style is CallStyle.TAGS:
            self._body = TaggedBody(end=form.end, tags=form.tags, offered=offered, index=index, eager=eager)
        elif form.style is CallStyle.NAMED:
            self._body = NamedBody(end=form.end, between=form.between, offered=offered, index=index, eager=eager)
        elif form.bare and text[:1] != "{":
            self._body = PythonBody(bare=not begin, offered=offered, index=index, eager=eager)
        else:
            strange = not form.bare
            self._body = ObjectsBody(end=form.end, strange=strange, offered=offered, index=index, eager=eager)

    def _read_calls(self) -> Iterator[Piece]:
        assert self._body is not None
        text, self._held = self._held, ""
        yield from self._tell(self._body.push(text))
        if self._body.broken:
            yield from self._give_back(self._body.unsaid)
        elif self._body.behind is not None:
            self._held = self._body.behind
            self._close()

    def _tell(self, pieces: Iterable[CallPiece]) -> Iterator[Piece]:
        for piece in pieces:
            self._begin = ""
            self._speaker.call()
            yield piece

    def _give_back(self, unsaid: str) -> Iterator[Piece]:
        """What seemed to be a call is content; there may be calls in it behind its first character."""
        text = self._begin + unsaid
        first = max(1, len(self._begin))
        self._close()
        yield from self._speaker.say(text[:first])
        self._held = text[first:]

    def _close(self) -> None:
        assert self._body is not None
        self._index, self._body, self._begin = self._body.index, None, ""

    def rest(self) -> Iterator[Piece]:
        if self._body is not None:
            yield from self._tell(self._body.finish())
            body, begun = self._body, self._begin
            self._close()
            yield from self._speaker.say(begun + body.unsaid)
        yield from self._speaker.say(self._held)
        self._held = ""
        yield from self._speaker.rest()
