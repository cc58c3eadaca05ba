"""Calls in a reply: told from its text as it comes, and as OpenAI's API has them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel

from controller.serving.choices.scores import TokenScore
from controller.serving.reply import Channel, Delta
from controller.serving.request import Outcome
from controller.serving.status import ReplyItem
from models.tools.offer import ToolCall
from models.tools.pieces import CallPiece, CallReader, Content, Piece


class CalledFunctionReply(BaseModel):
    """What the model calls."""

    name: str  # of the tool
    arguments: str  # its arguments as JSON, as the model wrote them


class CallReply(BaseModel):
    """A call of a tool."""

    id: str  # of the call, for its result to repeat
    type: Literal["function"] = "function"  # kind of the tool: a function
    function: CalledFunctionReply  # what is called


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDelta:
    """A piece of a call in a stream."""

    index: int  # the call's place in the reply, from 0
    id: str
    name: str | None  # of the tool, with the call's first piece; None: a further piece
    arguments: str  # the next piece of its JSON
    choice: int = 0  # the reply's place among those to one request


class ToolReply:
    """The calls of one reply."""

    def __init__(self, reader: CallReader, choice: int = 0) -> None:
        """`reader` reads the text of the answer; `choice`: the reply's place among those to one request."""
        self._reader = reader
        self._choice = choice
        self._scores: tuple[TokenScore, ...] = ()  # of tokens whose text is not told yet
        self._calling = False  # what was told last belongs to a call
        self._calls: list[tuple[str, str, list[str]]] = []  # the id, the name, and the pieces of the arguments

    def told(self, items: Iterable[ReplyItem]) -> Iterator[ReplyItem | CallDelta]:
        """Yields the items of a reply with its calls in place of their text; the outcome tells all of them."""
        for item in items:
            if isinstance(item, Outcome):
                yield from self._named(self._reader.rest())
                made = (ToolCall(id=each, name=name, arguments="".join(said)) for each, name, said in self._calls)
                yield replace(item, calls=tuple(made))
            elif isinstance(item, Delta) and item.channel is Channel.CONTENT:
                self._scores += item.scores
                yield from self._named(self._reader.push(item.text))
                if self._calling:
                    self._scores = ()  # of a call's end, which is not told
            else:
                yield item

    def _named(self, pieces: Iterable[Piece]) -> Iterator[Delta | CallDelta]:
        for piece in pieces:
            scores, self._scores = self._scores, ()  # a call's tokens are told no other way than as the call
            self._calling = isinstance(piece, CallPiece)
            if isinstance(piece, CallPiece):
                yield self._call(piece)
            else:
                channel = Channel.CONTENT if isinstance(piece, Content) else Channel.REASONING
                yield Delta(channel=channel, text=piece.text, scores=scores, choice=self._choice)

    def _call(self, piece: CallPiece) -> CallDelta:
        if piece.name is not None:
            self._calls.append((f"call_{uuid.uuid4().hex[:24]}", piece.name, []))
        made, _, said = self._calls[-1]
        said.append(piece.arguments)
        return CallDelta(index=piece.index, id=made, name=piece.name, arguments=piece.arguments, choice=self._choice)


def calls_of(outcome: Outcome) -> list[CallReply] | None:
    """Returns the calls of a whole reply; None: there are none."""
    return [
        CallReply(id=call.id, function=CalledFunctionReply(name=call.name, arguments=call.arguments))
        for call in outcome.calls
    ] or None


def call_chunk(call: CallDelta) -> dict[str, Any]:
    """Returns a piece of a call as a chunk has it."""
    if call.name is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}
