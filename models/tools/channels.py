"""Calls as messages on a channel, to a recipient: harmony, as gpt-oss writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from models.formats.matching import overlap
from models.tools.json_text import JsonText
from models.tools.pieces import CallPiece, Content, FurtherThought, Piece, Speaker

START, CHANNEL, MESSAGE, END, CALL, RETURN = (
    "<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>",
)  # fmt: skip
MARKS = (START, CHANNEL, MESSAGE, END, CALL, RETURN, "<|constrain|>")
_HEADS = (START, CHANNEL)
_ENDS = (END, CALL, RETURN)
_TO = re.compile(r"to=(?:functions\.)?([\w.-]{1,256})")
_ROLES = re.compile(r"\s*assistant\s*")


class ChannelReader:
    """Reads messages. One to a recipient is a call, one on the channel `analysis` a thought, any other content."""

    def __init__(self, *, eager: bool) -> None:
        self._eager = eager
        self._held = ""
        self._head: str | None = None  # of the message that begins; None: its text goes on
        self._index = 0
        self._name: str | None = None  # of the tool that is called; None: the message is no call
        self._value = JsonText()
        self._arguments = ""
        self._thought = False
        self._speaker = Speaker()

    def push(self, text: str) -> Iterator[Piece]:
        self._held += text
        while True:
            if self._head is not None:
                before, whole, behind = self._held.partition(MESSAGE)
                if not whole:
                    return
                self._begin(self._head + before)
                self._held = behind
                continue
            first = min(((at, mark) for mark in (*_HEADS, *_ENDS) if (at := self._held.find(mark)) >= 0), default=None)
            if first is None:
                keep = overlap(self._held, (*_HEADS, *_ENDS))
                text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
                yield from self._say(text)
                return
            at, mark = first
            yield from self._say(self._held[:at])
            yield from self._end_message()
            self._held = self._held[at + len(mark) :]
            if mark in _HEADS:
                self._head = mark

    def _begin(self, head: str) -> None:
        """A message begins behind its head."""
        self._head = None
        recipient = _TO.search(head)
        self._name = None if recipient is None else recipient[1]
        self._thought = recipient is None and head.rpartition(CHANNEL)[2].strip().startswith("analysis")
        self._value, self._arguments = JsonText(), ""
        self._speaker.call()

    def _say(self, text: str) -> Iterator[Piece]:
        if not text:
            return
        if self._name is None:
            if self._thought:
                yield FurtherThought(text=text)
            else:
                yield from self._speaker.say(text)
            return
        said = "".join(self._value.push(text))  # also what is no JSON any more
        first, self._arguments = not self._arguments, self._arguments + said
        if self._eager and said:
            yield CallPiece(index=self._index, name=self._name if first else None, arguments=said)

    def _end_message(self) -> Iterator[Piece]:
        if self._name is not None:
            told = self._eager and bool(self._arguments)
            if not told and self._arguments.strip() and not self._value.complete:
                yield from self._speaker.say(self._arguments)  # no JSON
            else:
                if not told:
                    arguments = self._arguments.strip() or "{}"
                    yield CallPiece(index=self._index, name=self._name, arguments=arguments)
                self._index += 1
                self._speaker.call()
        self._name, self._thought = None, False

    def rest(self) -> Iterator[Piece]:
        if self._head is None:
            yield from self._say(self._held)
        elif not _ROLES.fullmatch(self._held or "assistant"):
            yield Content(text=self._head + self._held)
        self._held = ""
        yield from self._end_message()
        yield from self._speaker.rest()
