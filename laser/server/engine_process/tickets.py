"""The event loop's side of an engine: replies in progress, and the calls that are not answered yet.

`EngineClient` is all that the service knows of an engine. Who carries its commands is left to its two kinds: a thread
of this process, and a process of the engine's own.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from controller.serving.admission import Overloaded, QueueState
from controller.serving.reply import Delta
from controller.serving.request import Outcome, ReasoningRequest
from controller.serving.status import LoopStatus, ReplyItem
from engine.base import CapacityError, EngineError, EngineLoad
from laser.server.controller_report import ControllerReport
from laser.server.engine_process.messages import (
    Accepted,
    Broken,
    Cancel,
    Command,
    Ended,
    EndThought,
    Event,
    Failed,
    Gone,
    Inquire,
    NotAccepted,
    Progressed,
    Refusal,
    Said,
    Seen,
    Submit,
    ThoughtEnded,
    TrialAnswered,
    TurnedAway,
)
from models.profile.savings import Gained


class EngineFailure(Exception):
    """The engine failed on a valid request, or can serve none."""


class EngineLost(EngineFailure):
    """The engine's process ended under a valid request, which may be sent again."""


class Ticket:
    """One request's reply, read on the event loop. Created by `EngineClient.submit`."""

    def __init__(
        self, cancel: Callable[[Ticket], None], left: Callable[[Outcome], None] = lambda outcome: None, number: int = 0
    ) -> None:
        """`left` gets the outcome of a reply that nobody waits for; `number` is the request's."""
        self.number = number
        self._left = left
        self._alone = False  # whether nobody waits for the reply any more
        self._cancel = cancel
        self._accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()
        self._items: list[ReplyItem] = []
        self._failure: EngineFailure | None = None
        self._over = False

    async def take(self) -> list[ReplyItem]:
        """Waits for items and returns those since the last call, at least one; a reply's last item is its outcome.

        Raises EngineFailure if the engine failed, once all earlier items have been taken.
        """
        await self._arrived.wait()
        items, self._items = self._items, []
        if self._failure is None:
            self._arrived.clear()
        elif not items:
            raise self._failure
        return items

    async def linger(self, seconds: float) -> None:
        """Sleeps for `seconds`, or until the reply ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    @property
    def complete(self) -> bool:
        """Whether the reply has ended, by an outcome or by a failure."""
        return self._ended.is_set()

    @property
    def taken(self) -> bool:
        """Whether the request has been queued or refused."""
        return self._accepted.done()

    @property
    def alone(self) -> bool:
        """Whether nobody waits for the reply any more."""
        return self._alone

    def cancel(self) -> None:
        """Frees the request before the engine's next step; does nothing if the request has ended."""
        self._alone = True
        items, self._items = self._items, []
        for outcome in items:
            if isinstance(outcome, Outcome):
                self._left(outcome)
        if not self._over:
            self._over = True
            self._cancel(self)

    async def accepted(self) -> None:
        """Returns once the request is queued; raises the error if the request is refused."""
        await self._accepted

    def receive(self, item: ReplyItem | Exception | None) -> None:
        """Takes an item of the engine's; None: the request is accepted. Runs on the event loop."""
        if not self._accepted.done():  # the future is cancelled if the client has gone
            if isinstance(item, Exception):
                self._accepted.set_exception(item)
                self._over = True
                return
            self._accepted.set_result(None)  # what has items is taken: it may end before the word of that comes
        if item is None:
            return
        if isinstance(item, Exception):
            self._failure = item if isinstance(item, EngineFailure) else EngineFailure(str(item))
        elif self._alone and isinstance(item, Outcome):
            self._left(item)
        else:
            self._items.append(item)
        if isinstance(item, Exception) or last(item):
            self._ended.set()
        self._over = self._over or self.complete
        self._arrived.set()


class EngineClient(ABC):
    """An engine as the service uses it, on the event loop that has started it."""

    def __init__(self, left: Callable[[Outcome], None] = lambda outcome: None) -> None:
        """`left` gets the outcomes of replies whose clients have gone."""
        self._left = left
        self._numbers = count(1)
        self._tickets: dict[int, Ticket] = {}  # of requests that have not ended, in the order of their coming
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._broken: str | None = None  # why the engine can serve no more; None: it can
        self._break = asyncio.Event()
        self._closing = False
        self._takes: dict[type[Event], Callable[[Any], None]] = {
            Said: self._on_said,
            TrialAnswered: self._on_probed,
            Progressed: lambda event: self._hand(event.number, event.progress),
            Ended: lambda event: self._end(event.number, event.outcome),
            Failed: lambda event: self._end(event.number, EngineFailure(event.message)),
            Accepted: lambda event: self._hand(event.number, None),
            NotAccepted: self._on_refused,
            Gone: self._on_gone,
            ThoughtEnded: lambda event: self._answer(event.call, event.ended),
            Seen: self._on_seen,
            Broken: self._on_broken,
        }

    # --- what the service reads -------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether requests can be decoded, now or once the engine's process is there again."""
        return self._failure is None

    @property
    def restarting(self) -> bool:
        """Whether the engine's process is being started again, and requests wait for it."""
        return False

    @property
    def failing(self) -> bool:
        """Whether the engine's process has ended too often lately, though requests are taken."""
        return False

    @property
    def trouble(self) -> str | None:
        """What is wrong with the engine, in words; None: nothing."""
        return self._failure

    @property
    def restarts(self) -> int:
        """How often the engine's process was started again."""
        return 0

    @property
    def pid(self) -> int | None:
        """The id of the engine's own process; None: it has none."""
        return None

    @property
    @abstractmethod
    def queue(self) -> QueueState:
        """The queue, as it was a moment ago."""

    @property
    @abstractmethod
    def load(self) -> EngineLoad:
        """The engine's load, as it was a moment ago."""

    @property
    @abstractmethod
    def controller(self) -> ControllerReport:
        """What the policy makes of the load, as far as it is known here; `refresh` asks."""

    @property
    @abstractmethod
    def gained(self) -> Gained | None:
        """What was saved, as far as it is known here; None: there is no estimate."""

    async def refresh(self) -> None:  # noqa: B027 (in one process there is nothing to ask)
        """Asks for what the policy knows, and waits a moment for the answer."""

    async def broken(self) -> str:
        """Waits until the engine is broken, so that only a new server can serve; returns why."""
        await self._break.wait()
        assert self._broken is not None
        return self._broken

    # --- life cycle -------------------------------------------------------------------------------------------------

    @abstractmethod
    def start(self) -> None:
        """Begins to serve; all that comes is received on the running event loop."""

    @abstractmethod
    async def stop(self) -> None:
        """Ends the engine after its present step, and what runs beside the policy; requests that go on fail."""

    # --- requests ---------------------------------------------------------------------------------------------------

    async def submit(
        self, request: ReasoningRequest, *, probes: bool = False, progress: bool = False, streamed: bool = True
    ) -> Ticket:
        """Submits a request to the serving loop; with `probes`, its ticket also delivers the probes of its thought.

        With `progress`, it also delivers how far the request is. Texts that are not `streamed` may come all at the end.

        Raises EngineError if the request is invalid (CapacityError: too long), Overloaded if it is turned away, and
        EngineFailure if the engine stops or has failed.
        """
        self._check_alive()
        ticket = Ticket(self._cancel, self._left, next(self._numbers))
        self._tickets[ticket.number] = ticket
        try:
            await self._enter(
                Submit(number=ticket.number, request=request, probes=probes, progress=progress, streamed=streamed)
            )
            await ticket.accepted()
        except asyncio.CancelledError:
            ticket.cancel()
            raise
        return ticket

    async def status(self) -> LoopStatus:
        """Returns the serving loop's status between steps. Raises EngineFailure if it cannot be told."""
        self._check_alive()
        seen: Seen = await self._call(lambda number: Inquire(call=number, whole=True))
        if seen.status is None:
            raise EngineFailure(seen.failure or "the engine cannot be looked at")
        return seen.status

    def turned_away(self) -> None:
        """Counts a request that was turned away before it came to the serving loop."""
        if self.alive and not self._closing:
            self._send(TurnedAway())

    async def end_thought(self, ticket: Ticket) -> bool:
        """Has a request's thought closed as soon as possible; returns False if no thought is running."""
        if self._closing or not self.alive:
            return False
        try:
            return bool(await self._call(lambda number: EndThought(call=number, number=ticket.number)))
        except EngineFailure:
            return False

    # --- for the two kinds ------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def _failure(self) -> str | None:
        """Why nothing can be decoded; None: decoding is possible, now or soon."""

    @abstractmethod
    def _send(self, command: Command) -> None:
        """Carries a command to the loop."""

    async def _enter(self, command: Submit) -> None:
        """Carries a request to the loop; may wait until there is room for it on the way."""
        self._send(command)

    def receive(self, events: Sequence[Event]) -> None:
        """Takes what has come of a step."""
        for event in events:
            self._takes[type(event)](event)

    def _check_alive(self) -> None:
        failure = self._failure
        if failure is not None:
            raise EngineFailure(failure)

    async def _call(self, command: Callable[[int], Command]) -> Any:
        """Sends a command that has an answer, and returns the answer. Raises EngineFailure if none will come."""
        number = next(self._numbers)
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        self._send(command(number))
        try:
            return await answer
        finally:
            self._calls.pop(number, None)

    def _cancel(self, ticket: Ticket) -> None:
        if ticket.number in self._tickets:
            self._send(Cancel(number=ticket.number))

    def _hand(self, number: int, item: ReplyItem | Exception | None) -> None:
        ticket = self._tickets.get(number)
        if ticket is not None:
            ticket.receive(item)

    def _end(self, number: int, item: ReplyItem | Exception) -> None:
        """Hands over the last item of a request, or of one of the replies to it."""
        ends = isinstance(item, Exception) or last(item)
        ticket = self._tickets.pop(number, None) if ends else self._tickets.get(number)
        if ticket is not None:
            ticket.receive(item)

    def _answer(self, call: int, value: object) -> None:
        answer = self._calls.get(call)
        if answer is not None and not answer.done():  # it is cancelled if the caller has gone
            answer.set_exception(value) if isinstance(value, Exception) else answer.set_result(value)

    def _fail_asked(self, message: str) -> None:
        """Fails all requests that have not ended, and all calls that are not answered."""
        for number in list(self._tickets):
            self._end(number, EngineFailure(message))
        self._fail_calls(message)

    def _fail_calls(self, message: str) -> None:
        for call in list(self._calls):
            self._answer(call, EngineFailure(message))

    def _give_up(self, message: str) -> None:
        """Declares that the engine can serve no more."""
        self._broken = message
        self._fail_asked(message)
        self._break.set()

    def _on_said(self, event: Said) -> None:
        ticket = self._tickets.get(event.number)
        if ticket is not None:
            said = Delta(channel=event.channel, text=event.text, scores=event.scores, choice=event.choice)
            ticket.receive(said)

    def _on_probed(self, event: TrialAnswered) -> None:
        self._hand(event.number, event.checkpoint)

    def _on_seen(self, event: Seen) -> None:
        self._answer(event.call, event)

    def _on_refused(self, event: NotAccepted) -> None:
        self._end(event.number, _refusal(event))

    def _forget(self, number: int) -> None:
        """Drops a request to which nobody has to be told anything more."""
        self._tickets.pop(number, None)

    def _on_gone(self, event: Gone) -> None:
        self._forget(event.number)
        if event.outcome is not None:
            self._left(event.outcome)

    def _on_broken(self, event: Broken) -> None:
        self._give_up(event.message)


def last(item: object) -> bool:
    """Whether nothing more comes of a request after an item: its reply, or the last of its replies, has ended."""
    return isinstance(item, Outcome) and not item.going_on


def _refusal(event: NotAccepted) -> Exception:
    if event.why is Refusal.OVERLOADED:
        return Overloaded(event.message, event.retry_after_s)
    kinds = {Refusal.CAPACITY: CapacityError, Refusal.INVALID: EngineError, Refusal.FAILURE: EngineFailure}
    return kinds[event.why](event.message)
