"""A reply in progress, as the HTTP side holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from controller.serving.admission import Turn
from controller.serving.request import Outcome
from engine.base import FinishReason
from laser.server.api.errors import ServerFailure
from laser.server.api.shape import ReplyHeader, ReplyShape
from laser.server.engine_thread import EngineFailure, Item, Ticket
from laser.server.keys import Caller

ABANDONED = "abandoned"  # the client has gone


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Submission:
    """A reply in progress: its caller, its ticket, and the shape in which the client gets it."""

    identity: ReplyHeader
    caller: Caller
    shape: ReplyShape
    ticket: Ticket
    ended: Callable[[Outcome], None]
    closed: Callable[[Submission], None]
    turn_of: Callable[[str], Turn | None]
    pause_s: Callable[[], float] = lambda: 0.0
    told: dict[str, Any] = field(default_factory=dict)  # the request's log fields

    async def take(self) -> list[Item]:
        """Returns the items since the last call; the last of all is the outcome. Raises ServerFailure."""
        try:
            items = await self.ticket.take()
        except EngineFailure as error:
            self.told["finish_reason"] = FinishReason.ERROR.value
            raise ServerFailure(str(error)) from error
        if isinstance(items[-1], Outcome):
            self.told.update(_account(items[-1]))
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
        self.told.setdefault("finish_reason", ABANDONED)
        self.closed(self)


def _account(outcome: Outcome) -> dict[str, Any]:
    """Returns log fields: how a reply ended and what it cost, without any text."""
    thought = outcome.thought
    return {
        "finish_reason": outcome.finish_reason.value,
        "exit_reason": str(thought.exit_reason) if thought else None,
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "reasoning_tokens": thought.tokens if thought else 0,
        "probes": thought.probes if thought else 0,
        "queue_ms": round(outcome.queue_s * 1e3, 1),
    }
