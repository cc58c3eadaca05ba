"""A reply in progress, as the HTTP side holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from controller.serving.admission import Turn
from controller.serving.request import Outcome
from controller.serving.status import ReplyItem
from engine.base import FinishReason
from laser.server.api.errors import ApiError, ServerFailure, Unavailable
from laser.server.api.shape import ReplyHeader, ReplyShape
from laser.server.api.tools.reply import CallDelta, ToolReply
from laser.server.engine_process.messages import SHUTTING_DOWN
from laser.server.engine_process.tickets import EngineFailure, EngineLost, Ticket
from laser.server.keys import Caller
from laser.server.telemetry.request_log import ABANDONED, RequestLog

Told: TypeAlias = ReplyItem | CallDelta


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Submission:
    """A reply in progress, or several: the caller, the ticket, and the shapes in which the client gets them."""

    identity: ReplyHeader
    caller: Caller
    shape: ReplyShape
    ticket: Ticket
    ended: Callable[[Outcome], None]
    closed: Callable[[str], None]  # gets the reply's id
    turn_of: Callable[[str], Turn | None]
    abandoned: Callable[[], None] = lambda: None  # called if the client goes before the reply's end
    pause_s: Callable[[], float] = lambda: 0.0
    tools: tuple[ToolReply, ...] = ()  # read the tool calls of each choice; empty: no tool is offered
    log: RequestLog = field(default_factory=RequestLog)
    others: tuple[ReplyShape, ...] = ()  # those of further choices
    sent: int = 1  # choices that the client gets: the best of all

    @property
    def shapes(self) -> tuple[ReplyShape, ...]:
        """The shapes of all choices."""
        return (self.shape, *self.others)

    async def take(self) -> list[Told]:
        """Returns the items since the last call, at least one; the last of all is an outcome. Raises ApiError."""
        while True:
            told = [each for item in await self._take() for each in self._told(item)]
            if told:  # text may be held back until it is known whether it is a call
                return told

    async def _take(self) -> list[ReplyItem]:
        try:
            items = await self.ticket.take()
        except EngineFailure as error:
            self.log.finish_reason = FinishReason.ERROR.value
            raise of_failure(error) from error
        for item in items:
            if isinstance(item, Outcome):
                self.log.ended(item)
                self.ended(item)
        return items

    def _told(self, item: ReplyItem) -> Iterable[Told]:
        """Returns what an item tells: with tools, calls in place of their text."""
        return self.tools[item.choice].told([item]) if self.tools else (item,)

    async def linger(self) -> None:
        """Sleeps between two writes of a stream, or until the reply ends."""
        await self.ticket.linger(self.pause_s())

    @property
    def turn(self) -> Turn | None:
        """The place in the queue; None: the reply has started."""
        return self.turn_of(self.identity.id)

    def close(self) -> None:
        """Cancels the request if it still runs; a reply whose outcome was not taken counts as abandoned."""
        self.ticket.cancel()
        if self.log.finish_reason is None:
            self.log.finish_reason = ABANDONED
            self.abandoned()
        self.closed(self.identity.id)


def of_failure(error: EngineFailure, *, alive: bool = True) -> ApiError:
    """Returns the API's error for a failure of an engine: whether the request may be sent again, here or elsewhere.

    `alive`: the engine can serve others.
    """
    elsewhere = isinstance(error, EngineLost) or str(error) == SHUTTING_DOWN or not alive
    return (Unavailable if elsewhere else ServerFailure)(str(error))
