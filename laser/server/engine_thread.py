"""The engine in this process: the serving loop runs on a thread beside the event loop.

All calls of the serving loop happen on that thread; the results of a step, for all requests, come to the event loop in
one call.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial

from controller.serving.admission import QueueState
from controller.serving.loop import ServingLoop
from controller.serving.request import Outcome
from engine.base import EngineLoad
from laser.server.controller_report import ControllerReport, report
from laser.server.engine_process.driver import LoopDriver, uncounted
from laser.server.engine_process.messages import SHUTTING_DOWN, Command, Event, Stop
from laser.server.engine_process.tickets import EngineClient
from laser.server.policy_choice import ChosenPolicy
from laser.server.telemetry.gains import Gains
from models.profile.savings import Gained

log = logging.getLogger(__name__)

STOP_S = 5.0  # s for the current step to end when the server stops
STALL_S = 60.0  # s that a step may take before it counts as hanging
GIVE_UP = 3.0  # times STALL_S that a step may take before the engine counts as broken


class EngineThread(EngineClient):
    """Runs a serving loop on its own thread, for the event loop that started it."""

    def __init__(
        self,
        loop: ServingLoop,
        *,
        chosen: ChosenPolicy | None = None,
        gains: Gains | None = None,
        stop_s: float = STOP_S,
        stall_s: float = STALL_S,
        left: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        """`chosen` is the policy to report on and to close, `gains` counts replies; None: there is nothing to tell.

        `stop` waits `stop_s` for a step; one of `stall_s` hangs. `left` gets the outcomes of abandoned replies.
        """
        super().__init__(left)
        self._loop, self._chosen, self._gains = loop, chosen, gains
        self._stop_s, self._stall_s = stop_s, stall_s
        self._driver = LoopDriver(loop, self._post, ended=uncounted if gains is None else gains.count)
        self._thread: threading.Thread | None = None
        self._events: asyncio.AbstractEventLoop | None = None
        self._abandoned = False  # whether `stop` has abandoned a hanging step
        self._watch: asyncio.Task[None] | None = None

    @property
    def queue(self) -> QueueState:
        return self._loop.queue

    @property
    def load(self) -> EngineLoad:
        return self._loop.load

    @property
    def controller(self) -> ControllerReport:
        assert self._chosen is not None
        return report(self._chosen)

    @property
    def gained(self) -> Gained | None:
        return None if self._gains is None else self._gains.gained()

    @property
    def _failure(self) -> str | None:
        if self._closing or self._thread is None or not self._thread.is_alive():
            return self._why_broken or SHUTTING_DOWN
        busy_s = self._driver.busy_s
        if busy_s is not None and busy_s > self._stall_s:
            return f"a step of the engine has taken more than {self._stall_s:g} s"
        return self._why_broken

    @property
    def _why_broken(self) -> str | None:
        """Why only a new process can serve; known here before the driver's own word of it is received."""
        return self._broken or self._driver.broken

    def start(self) -> None:
        self._events = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._driver.run, name="engine", daemon=True)
        self._thread.start()
        if self._chosen is not None:
            self._chosen.begin()
        self._watch = asyncio.create_task(self._watch_steps())

    async def _watch_steps(self) -> None:
        """Declares the engine broken once a step hangs for GIVE_UP · stall_s, so that no client waits for ever."""
        limit_s = GIVE_UP * self._stall_s
        while self._broken is None:
            await asyncio.sleep(self._stall_s / 4.0)
            busy_s = self._driver.busy_s
            if busy_s is not None and busy_s > limit_s:
                message = f"a step of the engine has taken more than {limit_s:g} s"
                log.critical("%s: only a new process can serve", message)
                self._give_up(message)

    async def stop(self) -> None:
        if self._thread is None or self._abandoned:
            return
        if self._watch is not None:
            self._watch.cancel()
        if not self._closing:
            self._closing = True  # no more commands may follow into the inbox
            self._driver.put(Stop())
        await asyncio.to_thread(self._thread.join, self._stop_s)
        if self._thread.is_alive():
            self._abandoned = True
            log.critical("the engine's step has not ended within %g s: it is left, and its requests fail", self._stop_s)
        self._fail_asked(SHUTTING_DOWN)  # whoever is left: the thread's last events were posted, and received, before
        if self._chosen is not None:
            await asyncio.to_thread(self._chosen.close)

    def _send(self, command: Command) -> None:
        self._driver.put(command)

    def _post(self, events: list[Event]) -> None:
        """Has events received on the event loop. Called by the engine's thread."""
        assert self._events is not None
        try:
            self._events.call_soon_threadsafe(partial(self.receive, events))
        except RuntimeError:  # the event loop has closed: nobody is left to receive it
            log.debug("something has come after the event loop's end")
