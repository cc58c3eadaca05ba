"""A reply in progress, as the HTTP side holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from controller.serving.admission import Turn
from controller.serving.request import Outcome
from engine.base import FinishReason
from laser.server.api.errors import ApiError, ServerFailure, Unavailable
from laser.server.api.shape import ReplyHeader, ReplyShape
from laser.server.api.tools.reply import CallDelta, ToolReply
from laser.server.engine_process.tickets import EngineFailure, EngineLost, Item, Ticket
from laser.server.keys import Caller
from laser.server.telemetry.request_log import ABANDONED, RequestLog

Told: TypeAlias = Item | CallDelta


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Submission:
    """A reply in progress: its caller, its ticket, and the shape in which the client gets it."""

    identity: ReplyHeader
    caller: Caller
    shape: ReplyShape
    ticket: Ticket
    ended: Callable[[Outcome], None]
    closed: Callable[[str], None]  # gets the reply's id
    turn_of: Callable[[str], Turn | None]
    abandoned: Callable[[], None] = lambda: None  # called if the client goes before the reply's end
    pause_s: Callable[[], float] = lambda: 0.0
    tools: ToolReply | None = None  # reads the reply's tool calls; None: no tool is offered
    log: RequestLog = field(default_factory=RequestLog)

    async def take(self) -> list[Told]:
        """Returns the items since the last call, at least one; the last of all is the outcome. Raises ApiError."""
        while True:
            items = await self._take()
            told: list[Told] = [*items] if self.tools is None else list(self.tools.told(items))
            if told:  # text may be held back until it is known whether it is a call
                return told

    async def _take(self) -> list[Item]:
        try:
            items = await self.ticket.take()
        except EngineFailure as error:
            self.log.finish_reason = FinishReason.ERROR.value
            raise of_failure(error) from error
        if isinstance(items[-1], Outcome):
            self.log.ended(items[-1])
            self.ended(items[-1])
        return items

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
    return (Unavailable if isinstance(error, EngineLost) or not alive else ServerFailure)(str(error))
