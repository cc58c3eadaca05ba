"""The engine in a process of its own, as the event loop sees it: carries commands, and starts the process again."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from msgspec import structs

from controller.serving.admission import Overloaded, QueueState
from controller.serving.request import Outcome
from controller.serving.status import ReplyItem
from engine.base import EngineLoad
from laser.server.config import ServeConfig
from laser.server.controller_report import ControllerReport
from laser.server.engine_process.child import Child, launch
from laser.server.engine_process.line import Line
from laser.server.engine_process.messages import (
    SHUTTING_DOWN,
    Accepted,
    Began,
    Broken,
    Command,
    Deployed,
    Handled,
    Inquire,
    Loading,
    NotAccepted,
    Ping,
    PolicyReport,
    Pong,
    Said,
    Seen,
    Shown,
    Stop,
    Submit,
    TrialAnswered,
    Unloaded,
)
from laser.server.engine_process.supervision import FROZEN_S, Counts, Fate, Ledger, Restarts, Silence
from laser.server.engine_process.tickets import EngineClient, EngineFailure, EngineLost, Ticket, last
from laser.server.engine_thread import GIVE_UP, STALL_S, STOP_S
from models.errors import Faults
from models.profile.savings import Gained

log = logging.getLogger(__name__)

PING_S = 1.0  # between two looks at whether the process runs
REFRESH_S = 1.0  # to wait for what the policy knows, before the last that is known is told


class EngineStartError(Faults):
    """The engine's process could not load the model; a line for each fault."""


class EngineProcess(EngineClient):
    """Runs the engine in a child process, for the event loop on which `opened` was awaited."""

    def __init__(
        self,
        config: ServeConfig,
        first: Child,
        *,
        told: Callable[[Loading], None] = lambda stage: None,
        restarts: Restarts | None = None,
        stall_s: float = STALL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`first` is the process that was already launched; `told` gets how far the first start is.

        A step of `stall_s`, or a silence of it, is a hang; GIVE_UP times that, and the process is ended.
        """
        super().__init__()
        self._config = config
        self._child = first
        self._told = told
        self._silence = Silence(stall_s, GIVE_UP * stall_s)
        self._clock = clock
        self._restarts = restarts or Restarts()
        self._ledger = Ledger()
        self._line: Line | None = None  # None: no process serves
        self._newest: Line | None = None  # of the process that serves or loads
        self._lost: asyncio.Event = asyncio.Event()  # the present process has ended
        self._opening: asyncio.Future[Deployed] | None = None
        self._deployed: Deployed | None = None  # None: nothing is loaded yet
        self._tasks: list[asyncio.Task[None]] = []
        self._why = ""  # why the present process is about to end; "": it is not known
        self._ended = "the engine's process has ended"  # why the last one has
        self._queue = QueueState()
        self._load = EngineLoad(running=0, waiting=0, probing=0, cells_reserved=0, cells_total=1)
        self._counts = Counts()
        self._controller: ControllerReport | None = None
        self._gained: Gained | None = None
        self._takes |= {
            Accepted: self._on_accepted,
            Began: lambda event: self._ledger.began(event.number),
            Handled: lambda event: self._ledger.handled(event.number, over=event.over),
            Shown: self._on_shown,
            Pong: lambda event: self._silence.step(event.step_s),
            Loading: self._told,
            Deployed: self._on_deployed,
            Unloaded: self._on_unloaded,
        }

    # --- what the service reads -------------------------------------------------------------------------------------

    @property
    def restarting(self) -> bool:
        return self.alive and self._line is None

    @property
    def failing(self) -> bool:
        return self._restarts.failing(self._clock())

    @property
    def trouble(self) -> str | None:
        if self._failure is not None:
            return self._failure
        if self._line is None:
            return f"{self._ended}; it is being started again"
        silent_s = self._clock() - self._line.heard_s
        return f"the engine's process has not answered for {silent_s:.0f} s" if silent_s > FROZEN_S else None

    @property
    def restarts(self) -> int:
        return self._restarts.count

    @property
    def pid(self) -> int | None:
        return self._child.process.pid if self._child.process.returncode is None else None

    @property
    def queue(self) -> QueueState:
        return self._queue

    @property
    def load(self) -> EngineLoad:
        return self._load

    @property
    def controller(self) -> ControllerReport:
        assert self._controller is not None
        return self._controller

    @property
    def gained(self) -> Gained | None:
        return self._gained

    async def refresh(self) -> None:
        with suppress(TimeoutError, EngineFailure):
            async with asyncio.timeout(REFRESH_S):
                await self._call(lambda number: Inquire(call=number, whole=False))

    @property
    def _failure(self) -> str | None:
        if self._closing or self._broken is not None:
            return self._broken or SHUTTING_DOWN
        return None if self._line is None else self._silence.stalled(self._clock() - self._line.heard_s)

    # --- life cycle -------------------------------------------------------------------------------------------------

    def listen(self, left: Callable[[Outcome], None]) -> None:
        """Sets who gets the outcomes of replies whose clients have gone."""
        self._left = left

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._replace())]

    async def stop(self) -> None:
        if self._closing:
            return
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self._line is not None:
            self._send(Stop())
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._lost.wait()
        if self._child.process.poll() is None and self._line is not None:
            log.critical("the engine's process has not ended within %g s: it is killed", STOP_S)
        await asyncio.to_thread(self._child.kill)
        with suppress(TimeoutError):
            async with asyncio.timeout(PING_S):  # for its socket to close
                await self._lost.wait()
        self._fail_asked(SHUTTING_DOWN)

    async def opened(self) -> Deployed:
        """Connects to the child, and waits until it has loaded its model. Raises EngineStartError if it cannot."""
        loop = asyncio.get_running_loop()
        self._opening = loop.create_future()
        self._lost.clear()
        began_s = self._clock()
        line = self._newest = Line(self.receive, self._on_closed)
        await loop.create_unix_connection(lambda: line, sock=self._child.line)
        deployed = await self._opening
        self._silence.loaded(self._clock() - began_s)
        self._deployed = self._deployed or deployed
        self._line = line
        self._restarts.began(self._clock())
        return deployed

    async def _watch(self) -> None:
        """Sees to it that the process runs, or loads: tells of a silence, and ends a process that hangs."""
        while True:
            due = self._clock() + PING_S
            await asyncio.sleep(PING_S)
            late_s, serves = self._clock() - due, self._line is not None
            if not serves:
                self._expire()
            line, loads = self._newest, self._opening is not None and not self._opening.done()
            if line is None or not (serves or loads):
                continue
            if late_s > PING_S:  # this process was held up itself
                line.heard_s += late_s
            if serves:  # of one that loads, only what it has loaded tells that it gets on
                line.send(Ping())
            silent_s = self._clock() - line.heard_s
            why = self._silence.look(silent_s) if serves else self._silence.loading(silent_s)
            if why is not None and self._child.process.poll() is None:
                self._why = why
                log.critical("%s: the process is ended", why)
                self._child.process.kill()

    async def _replace(self) -> None:
        """Starts the process again whenever it has ended; gives up if that comes to nothing."""
        while True:
            await self._lost.wait()
            await asyncio.to_thread(self._child.kill)
            delay_s = self._after_end()
            while delay_s is not None:
                await asyncio.sleep(delay_s)
                began = self._clock()
                try:
                    self._child = launch(self._config)
                    deployed = await self.opened()
                except (EngineStartError, OSError) as error:
                    self._ended = f"the engine's process could not be started again: {error}"
                    log.error("%s", self._ended)
                    await asyncio.to_thread(self._child.kill)
                    delay_s = self._restarts.ended(self._clock())
                    continue
                break
            if delay_s is None:
                self._give_up(f"{self._ended}; nothing starts it again")
                return
            if not self._fits(deployed):
                self._give_up("the engine's process was started again with another model: its files have changed")
                return
            again = "the engine serves again after %.1f s; %d waiting requests are sent again"
            log.warning(again, self._clock() - began, self._send_again())

    def _send_again(self) -> int:
        """Sends what waits to a new process; returns how many requests."""
        self._expire()
        again = list(self._ledger.again(self._clock()))
        self._counts.sent_again(command.number for command in again if self._tickets[command.number].taken)
        for command in again:
            self._send(command)
        return len(again)

    def _fits(self, deployed: Deployed) -> bool:
        """Whether a new process serves what prompts are prepared for."""
        first = self._deployed
        assert first is not None
        return (deployed.vocabulary, deployed.room) == (first.vocabulary, first.room)

    def _after_end(self) -> float | None:
        """Settles what a process has left behind; returns the time before the next start, None: there is none."""
        why, self._why = self._why or f"the engine's process has ended by itself ({self._child.end})", ""
        for number, ticket in list(self._tickets.items()):
            fate = Fate.LOST if ticket.alone else self._ledger.fate(number)
            if fate is Fate.LOST:
                self._end(number, EngineLost(f"{why}; the request may be sent again"))
            elif fate is Fate.GUILTY:
                self._end(number, EngineFailure(f"the engine's process has ended twice while this request ran: {why}"))
        self._fail_calls(why)
        self._counts.ended(self._queue.turned_away)
        self._queue = QueueState(turned_away=self._queue.turned_away)
        self._load = replace(self._load, running=0, waiting=0, probing=0, cells_reserved=0)
        delay_s, self._ended = self._restarts.ended(self._clock()), why
        then = "nothing starts it again" if delay_s is None else f"it is started again in {delay_s:g} s"
        log.error("%s; %d requests go on waiting; %s", why, len(self._ledger), then)
        return delay_s

    # --- requests ---------------------------------------------------------------------------------------------------

    async def _enter(self, command: Submit) -> None:
        self._ledger.enter(command, self._clock())
        line = self._line
        try:
            if line is not None:
                await line.room.wait()
                if line is self._line:  # else the process has ended meanwhile, and the next one gets it from the ledger
                    line.send(command)
        except BaseException:  # it is not sent: its client has gone
            self._forget(command.number)
            raise

    def _cancel(self, ticket: Ticket) -> None:
        super()._cancel(ticket)
        if self._line is None:
            self._forget(ticket.number)

    def _forget(self, number: int) -> None:
        self._ledger.over(number)
        super()._forget(number)

    def _expire(self) -> None:
        """Ends requests whose deadline has passed while there was no process."""
        for number, outcome in self._ledger.expired(self._clock()):
            self._end(number, outcome)

    async def _call(self, command: Callable[[int], Command]) -> Any:
        if self._line is None and self._failure is None:
            raise EngineFailure(str(self.trouble))  # nobody would answer
        return await super()._call(command)

    def _send(self, command: Command) -> None:
        self._counts.sent(command, served=self._line is not None)
        if self._line is not None:
            self._line.send(command)

    def _end(self, number: int, item: ReplyItem | Exception) -> None:
        if isinstance(item, Overloaded) and (ticket := self._tickets.get(number)) and ticket.taken:
            item = EngineLost(f"{item}; the request had waited before, and may be sent again")  # to a new process
        if isinstance(item, Exception) or last(item):
            self._ledger.over(number)
        else:
            self._ledger.spoke(number)
        super()._end(number, item)

    # --- events -----------------------------------------------------------------------------------------------------

    def _on_closed(self, line: Line) -> None:
        """The socket has closed: the process has ended, or is about to."""
        if line is not self._newest:
            return  # the next process has been started meanwhile
        if self._opening is not None and not self._opening.done():
            with suppress(subprocess.TimeoutExpired):
                self._child.process.wait(PING_S)
            how = f"the engine's process has ended ({self._child.end}) while it loaded the model"
            how, self._why = self._why or how, ""
            self._opening.set_exception(EngineStartError(how))
            return
        self._line = None
        self._silence.ended()
        self._lost.set()

    def _on_deployed(self, event: Deployed) -> None:
        self._load = replace(self._load, cells_total=event.cells)
        self._on_report(event.report)
        if self._opening is not None and not self._opening.done():
            self._opening.set_result(event)

    def _on_unloaded(self, event: Unloaded) -> None:
        if self._opening is not None and not self._opening.done():
            self._opening.set_exception(EngineStartError(*event.lines))

    def _on_accepted(self, event: Accepted) -> None:
        self._counts.came(event.number)
        self._hand(event.number, None)

    def _on_refused(self, event: NotAccepted) -> None:
        self._counts.refused(event)
        super()._on_refused(event)

    def _on_shown(self, event: Shown) -> None:
        self._queue = replace(event.queue, turned_away=self._counts.turned_away + event.queue.turned_away)
        self._load = event.load

    def _on_seen(self, event: Seen) -> None:
        if event.report is not None:
            self._on_report(event.report)
        if event.status is not None:
            event = structs.replace(event, status=self._counts.looked(event.status))
        super()._on_seen(event)

    def _on_report(self, report: PolicyReport) -> None:
        self._controller = ControllerReport.model_validate(report.controller)
        self._gained = report.gained

    def _on_broken(self, event: Broken) -> None:
        self._why = event.message  # and now it ends

    def _on_said(self, event: Said) -> None:
        self._ledger.spoke(event.number)
        self._restarts.useful()
        super()._on_said(event)

    def _on_probed(self, event: TrialAnswered) -> None:
        self._ledger.spoke(event.number)
        super()._on_probed(event)
