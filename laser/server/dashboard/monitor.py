"""Looks at the server once a second, and sends the status to all who watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable

from controller.serving.status import LoopStatus
from laser.server.api.shape import event_data
from laser.server.controller_report import ControllerReport
from laser.server.dashboard.history import StatusHistory
from laser.server.dashboard.schema import Status
from laser.server.engine_process.tickets import EngineFailure

log = logging.getLogger(__name__)

EVERY_S = 1.0
PATIENCE_S = 5.0  # to wait for the engine's answer before a problem is reported


class Monitor:
    """Feeds a history. Its methods must be called on the event loop."""

    def __init__(
        self,
        history: StatusHistory,
        *,
        status: Callable[[], Awaitable[LoopStatus]],
        controller: Callable[[], ControllerReport],
        every_s: float = EVERY_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._history = history
        self._loop_status = status
        self._controller = controller
        self._every_s = every_s
        self._patience_s = patience_s
        self._newest: bytes | None = None  # what the last look added, encoded once for all; None: not encoded yet
        self._looked = asyncio.Event()  # set, and replaced, at every look
        self._task: asyncio.Task[None] | None = None
        self._over = False

    def start(self) -> None:
        """Starts the looks."""
        self._task = asyncio.create_task(self._run())

    def end_streams(self) -> None:
        """Ends all event streams, so that their connections can close; the looks go on."""
        self._over = True
        self._looked.set()

    def close(self) -> None:
        """Ends all event streams and the looks."""
        self.end_streams()
        if self._task is not None:
            self._task.cancel()

    async def status(self) -> Status | None:
        """Waits for a first look; returns the last status with the whole record; None: the server ends without one."""
        while (status := self._history.status()) is None and not self._over:
            await self._looked.wait()
        return status

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yields server-sent events: first the whole record, then what each look adds."""
        seen = 0
        while not self._over:
            looked = self._looked
            if seen < self._history.number:
                data = self._encoded(seen)
                seen = self._history.number
                yield data
            await looked.wait()

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:
                log.exception("the server could not be looked at")
                self._history.missed(f"the server could not be looked at: {type(error).__name__}: {error}")
            self._newest = None
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await asyncio.sleep(self._every_s)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                status = await self._loop_status()
        except EngineFailure as error:
            self._history.missed(str(error))
        except TimeoutError:
            self._history.missed(f"the engine has not answered for {self._patience_s:g} s: a step takes long, or hangs")
        else:
            self._history.add(status, self._controller())

    def _encoded(self, since: int) -> bytes:
        if since < self._history.number - 1:
            return _event(self._history.status(since))
        if self._newest is None:
            self._newest = _event(self._history.status(since))
        return self._newest


def _event(status: Status | None) -> bytes:
    """Encodes a status as a server-sent event; None: as a comment that nothing was seen yet."""
    return b": nothing seen yet\n\n" if status is None else event_data(status.model_dump_json())
