"""Runs a service as an HTTP server: listens, drains at a signal, and ends when the engine is broken."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from laser.server.config import ServeConfig, model_name
from laser.server.connection import PatientProtocol
from laser.server.engine_process.front import FrontDoor
from laser.server.intake.listener import ServingError, url_of
from laser.server.intake.listener import listen as listen
from laser.server.telemetry.tracing import end_within, name_service

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:  # they import most of the server, while the port answers already
    from laser.server.engine_process.child import Child
    from laser.server.engine_process.messages import Loading
    from laser.server.service import Service

log = logging.getLogger(__name__)

ENDS = (signal.SIGINT, signal.SIGTERM)
GRACE_S = 5  # s for connections to close after all replies have ended


def run(service: Service, listener: socket.socket, *, ready: Callable[[str], None]) -> None:
    """Serves until a signal or a broken engine ends it; tells `ready` the address once requests are answered.

    Takes over SIGINT and SIGTERM, also for the rest of the process: what has ended needs no signal. Raises
    ServingError if the server could not be started or its engine is broken.
    """

    async def there(front: FrontDoor) -> Service:
        return service

    _run(DrainingServer(service.config, there, ready=lambda _: ready(url_of(listener))), listener)


def run_apart(
    config: ServeConfig,
    child: Child,
    listener: socket.socket,
    *,
    ready: Callable[[Service, str], None],
    told: Callable[[Loading], None] = lambda stage: None,
) -> None:
    """Serves, like `run`, an engine in a process of its own; the port answers while `child`, the first, loads.

    `told` gets each stage of the loading. Also raises EngineStartError if the model cannot be loaded.
    """

    async def load(front: FrontDoor) -> Service:
        def seen(stage: Loading) -> None:
            front.loading = stage
            told(stage)

        opened = await asyncio.to_thread(_remote)
        return await opened(config, child, seen)

    _run(DrainingServer(config, load, ready=lambda service: ready(service, url_of(listener))), listener)


def _remote() -> Callable[[ServeConfig, Child, Callable[[Loading], None]], Awaitable[Service]]:
    """Returns what opens a service whose engine is a child; imports most of the server, while the port answers."""
    from laser.server.engine_process.remote import open_service

    return open_service


def _application() -> Callable[..., ASGIApp]:
    """Returns what makes a service's application; imports most of the server."""
    from laser.server.app import create_app

    return create_app


def _run(server: DrainingServer, listener: socket.socket) -> None:
    name_service()
    _allow_connections()
    server.run(sockets=[listener])
    if server.error is not None:
        raise server.error
    if server.failure is not None:
        raise ServingError(server.failure)
    if not server.started:
        raise ServingError("the server could not be started")


class DrainingServer(uvicorn.Server):
    """Answers from the first on, serves once its service is loaded, drains at the first signal, ends at the second.

    Draining refuses new requests and ends the server once the last reply is complete, or after drain_s. The
    server also ends if the engine is broken, so that a supervisor can start a new process.
    """

    def __init__(
        self,
        config: ServeConfig,
        load: Callable[[FrontDoor], Awaitable[Service]],
        *,
        ready: Callable[[Service], None],
    ) -> None:
        """`load` returns what is served; `ready` is called once its requests are answered."""
        self._front = FrontDoor(model_name(config))
        super().__init__(
            uvicorn.Config(
                self._front,
                http=PatientProtocol,
                log_config=None,  # all loggers keep the format of `set_up`
                log_level="warning",
                access_log=False,
                ws="none",
                lifespan="on",
                timeout_keep_alive=math.ceil(config.idle_s),
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self.failure: str | None = None  # how the engine broke; None: it did not
        self.error: Exception | None = None  # why the service could not be loaded; None: it could
        self._settings = config
        self._load = load
        self._ready = ready
        self._service: Service | None = None  # None: it is being loaded
        self._draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._events = asyncio.get_running_loop()  # first: a signal may come at any moment
        await super().startup(sockets)
        self._opening = self._events.create_task(self._open())

    async def _open(self) -> None:
        """Loads the service, and has it serve."""
        try:
            service = await self._load(self._front)
            create_app = await asyncio.to_thread(_application)
            await self._front.open(create_app(service, stopped=self._stopped))
            _settle_memory()
            self._service = service
            self._watching = self._events.create_task(self._watch(service))
            if self.should_exit or self._draining:
                log.info("a signal has ended the server before it was ready")
            else:
                self._ready(service)
        except Exception as error:
            self.error = error
            self._front.give_up()
            self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handles signals in the block. uvicorn would raise them again behind it, as if the server had failed."""
        mine = ENDS if threading.current_thread() is threading.main_thread() else ()
        for number in mine:
            signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number in mine:
                signal.signal(number, lambda *_: None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._stopped()  # also after a second signal, which lets nothing stop

    def _stopped(self) -> None:
        """Bounds what still may wait, which are exporters only."""
        end_within(min(GRACE_S, self._settings.drain_s), self._status)

    def _status(self) -> int:
        """Returns the exit status, after the log has told why it is not 0."""
        if self.failure is not None:
            log.error("%s", self.failure)
        return int(self.failure is not None or self.error is not None)

    async def _watch(self, service: Service) -> None:
        self.failure = await service.broken()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await service.drain()  # waiting clients get their error first
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._draining or not self.started:
            super().handle_exit(sig, frame)
        else:
            self._draining = True
            self._events.call_soon_threadsafe(self._begin_to_drain, sig, frame)

    def _begin_to_drain(self, sig: int, frame: FrameType | None) -> None:
        if self._service is None:
            log.info("%s has ended the server before it was ready", signal.Signals(sig).name)
            self._opening.cancel()
            self._front.give_up()
            super().handle_exit(sig, frame)
        else:
            self._task = self._events.create_task(self._drain(self._service, sig, frame))

    async def _drain(self, service: Service, sig: int, frame: FrameType | None) -> None:
        limit_s = self._settings.drain_s
        log.info("the server takes no more requests; those under way have %g s", limit_s)
        try:
            async with asyncio.timeout(limit_s):
                await service.drain()
        except TimeoutError:
            log.warning("replies under way have not ended within %g s; they get an error", limit_s)
            await service.stop()
        super().handle_exit(sig, frame)


def _settle_memory() -> None:
    """Has what is loaded by now left alone by Python's collector."""
    if gc.isenabled():  # else this is a fresh process, whose garbage is not worth the half second to find it
        gc.collect()
    gc.freeze()  # what a model and its libraries hold stays: looking through it again holds all threads for long
    gc.enable()  # whoever loaded the model may have switched it off meanwhile


def _allow_connections() -> None:
    """Raises this process's limit on open files, connections among them, to the hard limit."""
    if resource is None:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems refuse their own hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
