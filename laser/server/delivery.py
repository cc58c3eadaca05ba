"""Sends a reply, whole or as server-sent events, and cancels the request as soon as the client has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping
from contextlib import aclosing
from itertools import groupby
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from controller.serving.admission import Turn
from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, Outcome
from controller.serving.status import RequestProgress
from laser.server.api.errors import ApiError
from laser.server.api.headers import ResponseHeader
from laser.server.api.shape import EVENTS, Framing
from laser.server.api.streams.notices import ProgressNotice
from laser.server.api.tools.reply import CallDelta
from laser.server.connection import PING
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
    shape, silence_s, clock = submission.shape, min(ping_s, QUEUE_S), asyncio.get_running_loop().time
    known: ProgressNotice | None = None  # how far the request was last known to be; None: it has not begun
    turn = submission.turn
    yield shape.opening() + (b"" if turn is None else _place(submission, framing, turn))
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
                (ProgressNotice.of(item) for item in reversed(items) if isinstance(item, RequestProgress)), known
            )
            data = b"".join(_piece(submission, item) for item in _joined(items))
            if data:
                yield data
                await submission.linger()
                due_s = clock() + silence_s
            if items and isinstance(items[-1], Outcome):
                yield shape.closing(items[-1])  # may raise, so the pieces before are sent first
                return
    except ApiError as error:
        yield shape.failure(error)


def _joined(items: list[Told]) -> Iterator[Told]:
    """Merges consecutive texts of one channel into one."""
    for kind, group in groupby(items, key=lambda item: item.channel if isinstance(item, Delta) else None):
        if kind is None:
            yield from group
        else:
            yield Delta(channel=kind, text="".join(item.text for item in group if isinstance(item, Delta)))


def _piece(submission: Submission, item: Told) -> bytes:
    shape = submission.shape
    match item:
        case Delta():
            return shape.piece(item)
        case CallDelta():
            return shape.called(item)
        case Checkpoint():
            return shape.probed(item)
        case RequestProgress():
            return shape.progressed(ProgressNotice.of(item)) if submission.identity.show_progress else b""
        case Outcome():
            return b""  # sent last, as the stream's closing


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


async def _whole(submission: Submission) -> BaseModel:
    text = {Channel.REASONING: "", Channel.CONTENT: ""}
    while True:
        for item in await submission.take():
            if isinstance(item, Outcome):
                return submission.shape.whole(text[Channel.REASONING], text[Channel.CONTENT], item)
            if isinstance(item, Delta):
                text[item.channel] += item.text


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
