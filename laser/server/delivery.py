"""Sends a reply, whole or as server-sent events, and cancels the request as soon as the client has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from controller.serving.admission import Turn
from controller.serving.choices.scores import TokenScore
from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, Outcome
from controller.serving.status import RequestProgress
from laser.server.api.errors import ApiError
from laser.server.api.headers import ResponseHeader
from laser.server.api.sampling.log_probs import mean
from laser.server.api.shape import EVENTS, Chunks, Framing, ReplyShape, finish_word, gathered
from laser.server.api.streams.notices import ProgressNotice
from laser.server.api.tools.reply import CallDelta
from laser.server.connection import PING
from laser.server.engine_process.tickets import last
from laser.server.submission import Submission, Told

T = TypeVar("T")

GONE = 499  # a status: the client has gone, and nobody reads the response
QUEUE_S = 2.0  # between two words on the place in the queue


class EventStream(Response):
    """A stream of a reply's events that ends, and frees its request, when the client goes away."""

    def __init__(
        self,
        submission: Submission,
        ping_s: float,
        headers: Mapping[str, str] | None = None,
        framing: Framing = EVENTS,
    ) -> None:
        """`ping_s`: the longest silence, s. `headers`: of this reply alone; None: it has none."""
        self.status_code = 200
        self.background = None
        self.media_type = framing.media_type
        self.init_headers({ResponseHeader.CACHE_CONTROL: "no-cache", ResponseHeader.BUFFERING: "no", **(headers or {})})
        self._events = _events(submission, ping_s, framing)
        self._submission = submission
        self._ping = framing.ping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})[PING] = self._ping  # for the protocol, which pings clients that may have gone
        try:
            await unless_gone(receive, self._send(send))
        finally:
            self._submission.close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._events) as events:
            async for data in events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _events(submission: Submission, ping_s: float, framing: Framing) -> AsyncGenerator[bytes, None]:
    """Yields the stream's bytes; all items since the last write go out in one piece."""
    shapes, silence_s, clock = submission.shapes, min(ping_s, QUEUE_S), asyncio.get_running_loop().time
    known: ProgressNotice | None = None  # how far the request was last known to be; None: it has not begun
    ended: list[Outcome] = []
    turn = submission.turn
    yield b"".join(shape.opening() for shape in shapes) + (b"" if turn is None else _place(submission, framing, turn))
    due_s = clock() + silence_s
    try:
        while True:
            try:
                async with asyncio.timeout_at(due_s):
                    items = await submission.take()
            except TimeoutError:
                turn = submission.turn
                silence_s = ping_s if turn is None else min(ping_s, QUEUE_S)
                told = b"" if known is None or not framing.comments else known.comment
                yield told + framing.ping if turn is None else _place(submission, framing, turn)
                due_s = clock() + silence_s
                continue
            known = next(
                (_notice(submission, item) for item in reversed(items) if isinstance(item, RequestProgress)), known
            )
            data = b"".join(_piece(submission, item) for item in _joined(items))
            if data:
                yield data
                await submission.linger()
            over = [item for item in items if isinstance(item, Outcome)]
            ended += over
            end = _end(shapes, over, ended)  # may raise, so the pieces before are sent first
            if end:
                yield end
            if data or end:
                due_s = clock() + silence_s
            if last(items[-1]):
                return
    except ApiError as error:
        yield shapes[0].failure(error)


def _end(shapes: Sequence[ReplyShape], over: Sequence[Outcome], ended: Sequence[Outcome]) -> bytes:
    """Returns what follows the last text of the choices that are `over` now; `ended`: all that are, these among them.

    Raises ApiError if one of them failed.
    """
    if len(shapes) == 1:
        return b"".join(shapes[0].closing(outcome) for outcome in over)
    several = [shape for shape in shapes if isinstance(shape, Chunks)]
    end = b"".join(several[outcome.choice].ending(outcome) for outcome in over)
    return end + several[0].summary(ended) if over and last(over[-1]) else end


def _joined(items: list[Told]) -> Iterator[Told]:
    """Merges consecutive texts of one channel of one choice into one; choices come one after another."""
    in_turn = sorted(items, key=lambda item: item.choice)
    for place, group in groupby(in_turn, key=_place_of):
        if place is None:
            yield from group
        else:
            choice, channel = place
            said = [item for item in group if isinstance(item, Delta)]
            scores = tuple(score for item in said for score in item.scores)
            yield Delta(channel=channel, text="".join(item.text for item in said), scores=scores, choice=choice)


def _place_of(item: Told) -> tuple[int, Channel] | None:
    """Returns where a text belongs; None: the item is no text."""
    return (item.choice, item.channel) if isinstance(item, Delta) else None


def _piece(submission: Submission, item: Told) -> bytes:
    shape = submission.shapes[item.choice]
    match item:
        case Delta():
            return shape.piece(item)
        case CallDelta():
            return shape.called(item)
        case Checkpoint():
            return shape.probed(item)
        case RequestProgress():
            return shape.progressed(_notice(submission, item)) if submission.identity.show_progress else b""
        case Outcome():
            return b""  # sent behind all text, as the end of its choice


def _notice(submission: Submission, progress: RequestProgress) -> ProgressNotice:
    """Returns the notice of a reply's progress, which names its choice where there are several."""
    return ProgressNotice.of(progress, None if submission.identity.index is None else progress.choice)


def _place(submission: Submission, framing: Framing, turn: Turn) -> bytes:
    """Returns what tells the place in the queue: an event for who asks, else a comment, if there are comments."""
    notice = ProgressNotice.of_turn(turn)
    if submission.identity.show_progress:
        return submission.shape.progressed(notice)
    return notice.comment if framing.comments else framing.ping


async def whole(submission: Submission, receive: Receive) -> BaseModel | None:
    """Returns the whole reply; None: the client has gone. Raises ApiError if the request failed."""
    try:
        return await unless_gone(receive, _whole(submission))
    finally:
        submission.close()


@dataclass(slots=True)
class _Heard:
    """One choice as it has come so far."""

    text: dict[Channel, str] = field(default_factory=lambda: dict.fromkeys(Channel, ""))
    scores: dict[Channel, list[TokenScore]] = field(default_factory=lambda: {channel: [] for channel in Channel})
    outcome: Outcome | None = None

    def hear(self, item: Told) -> None:
        if isinstance(item, Delta):
            self.text[item.channel] += item.text
            self.scores[item.channel] += item.scores
        elif isinstance(item, Outcome):
            self.outcome = item

    def whole(self, shape: ReplyShape, *, scored: bool) -> BaseModel:
        assert self.outcome is not None
        reasoning, content = self.text[Channel.REASONING], self.text[Channel.CONTENT]
        if not scored:
            return shape.whole(reasoning, content, self.outcome)
        return shape.whole(reasoning, content, self.outcome, self.scores)


async def _whole(submission: Submission) -> BaseModel:
    heard = [_Heard() for _ in submission.shapes]
    while True:
        items = await submission.take()
        for item in items:
            one = heard[item.choice]
            one.hear(item)
            if one.outcome is not None:
                finish_word(one.outcome)  # raises ApiError if it failed: the others are of no use then
        if last(items[-1]):
            break
    scored = submission.identity.scoring is not None
    if len(heard) == 1:
        return heard[0].whole(submission.shape, scored=scored)
    best = sorted(heard, key=lambda one: -mean(one.scores[Channel.CONTENT]))[: submission.sent]
    kept = heard if len(best) == len(heard) else best
    replies = [one.whole(shape, scored=scored) for one, shape in zip(kept, submission.shapes, strict=False)]
    return gathered(replies, [one.outcome for one in heard if one.outcome is not None])


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Returns what `work` returns; None: the client has gone, and `work` is cancelled."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # skip the rest of the request's body
