"""The engine thread, and the bridge between it and the event loop.

All calls of the serving loop happen on this thread. Requests and cancellations reach the thread through a queue, the
inbox, which the thread empties between two steps and blocks on while it is idle. The results of a step, for all
requests, go back to the event loop in one call.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias
from weakref import WeakSet

from controller.serving.admission import Overloaded
from controller.serving.loop import ServingLoop
from controller.serving.reply import Delta
from controller.serving.request import Checkpoint, Outcome, ReasoningRequest, RequestId
from controller.serving.status import LoopStatus
from engine.base import EngineBrokenError, EngineError

log = logging.getLogger(__name__)

Item: TypeAlias = Delta | Checkpoint | Outcome

SHUTTING_DOWN = "the server is shutting down"

STOP_S = 5.0  # s for the current step to end when the server stops
STALL_S = 60.0  # s that a step may take before it counts as hanging
GIVE_UP = 3.0  # times STALL_S that a step may take before the engine counts as broken
IDLE_S = 0.5  # s between two `idle` calls of an observed loop that has no requests


class EngineFailure(Exception):
    """The engine failed on a valid request, or can serve none."""


class Ticket:
    """One request's reply, read on the event loop. Created by `EngineThread.submit`."""

    def __init__(
        self, cancel: Callable[[Ticket], None], left: Callable[[Outcome], None] = lambda outcome: None
    ) -> None:
        """`left` gets the outcome of a reply that nobody waits for."""
        self._left = left
        self._alone = False  # whether nobody waits for the reply any more
        self.request: RequestId | None = None  # for the engine thread only; None: not submitted yet
        self._cancel = cancel
        self._accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()
        self._items: list[Item] = []
        self._failure: EngineFailure | None = None
        self._over = False

    async def take(self) -> list[Item]:
        """Waits for items and returns those since the last call, at least one; the last item of a reply is its outcome.

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

    def receive(self, item: Item | Exception | None) -> None:
        """Takes an item from the engine thread; None: the request is accepted. Runs on the event loop."""
        if item is None or (isinstance(item, Exception) and not self._accepted.done()):
            if not self._accepted.done():  # the future is cancelled if the client has gone
                self._accepted.set_result(None) if item is None else self._accepted.set_exception(item)
            self._over = self._over or item is not None
            return
        if isinstance(item, Exception):
            self._failure = EngineFailure(str(item))
        elif self._alone and isinstance(item, Outcome):
            self._left(item)
        else:
            self._items.append(item)
        if isinstance(item, Outcome | Exception):
            self._ended.set()
        self._over = self._over or self.complete
        self._arrived.set()


class EngineThread:
    """Runs a serving loop on its own thread, for the event loop that started it."""

    def __init__(
        self,
        loop: ServingLoop,
        *,
        stop_s: float = STOP_S,
        stall_s: float = STALL_S,
        left: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        """`stop` waits `stop_s` for a step; one of `stall_s` hangs. `left` gets the outcomes of abandoned replies."""
        self._loop, self._told_left = loop, left
        self._stop_s, self._stall_s = stop_s, stall_s
        self._step_since: float | None = None
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._outbox: list[tuple[Ticket, Item | Exception | None]] = []
        self._tickets: set[Ticket] = set()  # for the engine thread only: requests in the loop
        self._asked: WeakSet[Ticket] = WeakSet()  # for the event loop only: all tickets in use
        self._thread: threading.Thread | None = None
        self._events: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._left = False  # whether `stop` has abandoned a hanging step
        self._asked_of: WeakSet[asyncio.Future[bool]] = WeakSet()  # for the event loop only: calls of `end_thought`
        self._watch: asyncio.Task[None] | None = None
        self._broken: str | None = None  # why the engine is broken, so that requests are refused; None: it is not
        self._break = asyncio.Event()

    @property
    def alive(self) -> bool:
        """Whether the thread runs, no step of it hangs, and its engine is not broken."""
        return self._failure is None

    @property
    def _failure(self) -> str | None:
        """Why nothing can be decoded; None: decoding is possible."""
        if self._thread is None or not self._thread.is_alive():
            return SHUTTING_DOWN
        since = self._step_since
        if since is not None and time.monotonic() - since > self._stall_s:
            return f"a step of the engine has taken more than {self._stall_s:g} s"
        return self._broken

    async def broken(self) -> str:
        """Waits until the engine is broken; returns why."""
        await self._break.wait()
        assert self._broken is not None
        return self._broken

    def start(self) -> None:
        """Starts the thread; its results go to the running event loop."""
        self._events = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        self._watch = asyncio.create_task(self._watch_steps())

    async def _watch_steps(self) -> None:
        """Declares the engine broken once a step hangs for GIVE_UP · stall_s, so that no client waits for ever."""
        limit_s = GIVE_UP * self._stall_s
        while self._broken is None:
            await asyncio.sleep(self._stall_s / 4.0)
            since = self._step_since
            if since is not None and time.monotonic() - since > limit_s:
                self._broken = f"a step of the engine has taken more than {limit_s:g} s"
                log.critical("%s: only a new process can serve", self._broken)
                self._fail_asked(self._broken)
                self._break.set()

    def _fail_asked(self, message: str) -> None:
        """Fails all tickets and `end_thought` calls that still wait for the thread. Runs on the event loop."""
        for ticket in list(self._asked):
            if not ticket.complete:
                ticket.receive(EngineFailure(message))
        for told in list(self._asked_of):
            _tell(told, False)

    async def stop(self) -> None:
        """Ends the thread after its current step; requests still in the engine fail. Abandons a hanging step."""
        if self._thread is None or self._left:
            return
        if self._watch is not None:
            self._watch.cancel()
        if not self._closing:
            self._closing = True  # no more commands may follow into the inbox
            self._inbox.put(None)
        await asyncio.to_thread(self._thread.join, self._stop_s)
        if self._thread.is_alive():
            self._left = True
            log.critical("the engine's step has not ended within %g s: it is left, and its requests fail", self._stop_s)
            self._fail_asked(SHUTTING_DOWN)

    async def status(self) -> LoopStatus:
        """Returns the serving loop's status between steps. Raises EngineFailure if the thread stops or has failed."""
        self._check_alive()
        seen: asyncio.Future[LoopStatus] = asyncio.get_running_loop().create_future()
        self._inbox.put(partial(self._look, seen))
        return await seen

    async def submit(self, request: ReasoningRequest, *, probes: bool = False) -> Ticket:
        """Submits a request to the serving loop; with `probes`, its ticket also delivers the probes of its thought.

        Raises EngineError if the request is invalid (CapacityError: too long), Overloaded if it is turned away, and
        EngineFailure if the thread stops or has failed.
        """
        self._check_alive()
        ticket = Ticket(self._cancel, self._told_left)
        self._asked.add(ticket)
        self._inbox.put(partial(self._submit, ticket, request, probes))
        try:
            await ticket.accepted()
        except asyncio.CancelledError:
            ticket.cancel()
            raise
        return ticket

    def turned_away(self) -> None:
        """Counts a request that was turned away before it reached the serving loop."""
        if self.alive and not self._closing:
            self._inbox.put(self._loop.turned_away)

    async def end_thought(self, ticket: Ticket) -> bool:
        """Has a request's thought closed as soon as possible; returns False if no thought is running."""
        if self._closing or not self.alive:
            return False
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked_of.add(told)
        self._inbox.put(partial(self._end_thought, ticket, told))
        return await told

    def _check_alive(self) -> None:
        failure = SHUTTING_DOWN if self._closing else self._failure
        if failure is not None:
            raise EngineFailure(failure)

    def _cancel(self, ticket: Ticket) -> None:
        self._inbox.put(partial(self._forget, ticket))

    # --- on the engine thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # whatever escapes: nobody may go on waiting for a dead thread
            log.critical("the engine's thread has failed", exc_info=True)
            self._broken = f"the engine's thread has failed: {type(error).__name__}: {error}"
            self._fail_all(self._broken)
            self._flush()
            self._post(partial(self._fail_asked, self._broken))  # also for commands left in the inbox
            self._post(self._break.set)

    def _serve(self) -> None:
        while self._obey():
            if self._loop.busy:
                self._step_since = time.monotonic()
                try:
                    self._loop.tick()
                except EngineBrokenError as error:
                    log.critical("the engine is broken, only a new process can serve: %s", error)
                    self._broken = f"the engine is broken: {error}"
                    self._fail_all(self._broken)
                    self._post(self._break.set)
                except Exception as error:
                    log.exception("an engine step failed; its requests get an error, serving goes on")
                    self._fail_running(f"the engine failed: {type(error).__name__}: {error}")
                self._step_since = None
            self._flush()
        self._fail_all(SHUTTING_DOWN)
        self._flush()

    def _obey(self) -> bool:
        """Runs all commands in the inbox, blocking on it while there is nothing to decode; returns False at the end."""
        idle = not self._loop.busy
        while True:
            try:
                command = self._inbox.get(block=idle, timeout=IDLE_S if self._loop.observed else None)
            except queue.Empty:
                if idle:
                    self._loop.idle()
                return True
            if command is None:
                return False
            command()
            idle = False

    def _look(self, seen: asyncio.Future[LoopStatus]) -> None:
        found: LoopStatus | EngineFailure
        try:
            found = self._loop.status()
        except Exception as error:
            log.exception("the engine could not be looked at")
            found = EngineFailure(f"the engine cannot be looked at: {type(error).__name__}: {error}")
        self._post(partial(_settle, seen, found))

    def _submit(self, ticket: Ticket, request: ReasoningRequest, probes: bool) -> None:
        if self._broken is not None:  # the engine broke while the request was in the inbox
            self._outbox.append((ticket, EngineFailure(self._broken)))
            return
        self._tickets.add(ticket)  # before `submit`, since the request may end before `submit` returns
        emit = partial(self._emit, ticket)
        try:
            ticket.request = self._loop.submit(request, emit, emit if probes else None)
        except (EngineError, Overloaded) as error:
            self._tickets.discard(ticket)
            self._outbox.append((ticket, error))
        except Exception as error:
            self._tickets.discard(ticket)
            log.exception("a request could not be submitted")
            self._outbox.append((ticket, EngineFailure(f"the engine failed: {type(error).__name__}: {error}")))
        else:
            self._outbox.append((ticket, None))

    def _forget(self, ticket: Ticket) -> None:
        if ticket not in self._tickets or ticket.request is None:
            return  # the request was refused, or has ended meanwhile
        self._tickets.discard(ticket)
        try:
            outcome = self._loop.cancel(ticket.request)
            if outcome is not None:
                self._post(partial(self._told_left, outcome))
        except Exception:
            log.exception("a request could not be cancelled")

    def _end_thought(self, ticket: Ticket, told: asyncio.Future[bool]) -> None:
        ended = ticket in self._tickets and ticket.request is not None and self._loop.end_thought(ticket.request)
        self._post(partial(_tell, told, ended))

    def _emit(self, ticket: Ticket, item: Item) -> None:
        if isinstance(item, Outcome):
            self._tickets.discard(ticket)
        self._outbox.append((ticket, item))

    def _fail_running(self, message: str) -> None:
        try:
            self._loop.fail_running(message)
        except Exception:  # an engine broken in mid-step may not be able to cancel either
            log.exception("the engine could not be cleared")
            self._fail_all(message)

    def _fail_all(self, message: str) -> None:
        try:
            self._loop.fail_all(message)
        except Exception:
            log.exception("the engine could not be cleared")
        for ticket in list(self._tickets):
            self._forget(ticket)
            self._outbox.append((ticket, EngineFailure(message)))

    def _flush(self) -> None:
        if self._outbox:
            batch, self._outbox = self._outbox, []
            self._post(partial(_deliver, batch))

    def _post(self, call: Callable[[], None]) -> None:
        """Schedules `call` on the event loop."""
        assert self._events is not None
        try:
            self._events.call_soon_threadsafe(call)
        except RuntimeError:  # the event loop has closed: nobody is left to receive it
            log.debug("something has come after the event loop's end")


def _tell(told: asyncio.Future[bool], value: bool) -> None:
    if not told.done():  # the future is cancelled if the client has gone
        told.set_result(value)


def _deliver(batch: list[tuple[Ticket, Item | Exception | None]]) -> None:
    for ticket, item in batch:
        ticket.receive(item)


def _settle(seen: asyncio.Future[LoopStatus], found: LoopStatus | EngineFailure) -> None:
    if seen.done():
        return  # the caller has gone
    if isinstance(found, EngineFailure):
        seen.set_exception(found)
    else:
        seen.set_result(found)
