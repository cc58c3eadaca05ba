"""Runs a service as an HTTP server: listens, drains at a signal, and ends when the engine is broken."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn

from laser.server.app import create_app
from laser.server.connection import PatientProtocol
from laser.server.service import Service
from laser.server.telemetry.tracing import end_within, name_service
from models.errors import LaserError

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

ENDS = (signal.SIGINT, signal.SIGTERM)
BACKLOG = 2048  # connections that may wait
GRACE_S = 5  # s for connections to close after all replies have ended


class ServingError(LaserError):
    """The address cannot be listened on, the server could not be started, or its engine is broken."""


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; clients wait until it is served. Raises ServingError if another one listens."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServingError(f"host {host!r} cannot be used: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # at once: two servers may bind one address, and only one may listen
    except OSError as error:
        listener.close()
        raise ServingError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port"
        ) from error
    return listener


def run(service: Service, listener: socket.socket, *, ready: Callable[[str], None]) -> None:
    """Serves until a signal or a broken engine ends it; tells `ready` the address once requests are answered.

    Takes over SIGINT and SIGTERM, also for the rest of the process: what has ended needs no signal. Raises
    ServingError if the server could not be started or its engine is broken.
    """
    name_service()
    _allow_connections()
    server = DrainingServer(service, ready=lambda: ready(_url(listener)))
    server.run(sockets=[listener])
    if server.failure is not None:
        raise ServingError(server.failure)
    if not server.started:
        raise ServingError("the server could not be started")


class DrainingServer(uvicorn.Server):
    """Drains at the first signal, ends at the second.

    Draining refuses new requests and ends the server once the last reply is complete, or after drain_s. The
    server also ends if the engine is broken, so that a supervisor can start a new process.
    """

    def __init__(self, service: Service, *, ready: Callable[[], None]) -> None:
        """`ready` is called once requests are answered."""
        super().__init__(
            uvicorn.Config(
                create_app(service, stopped=self._stopped),
                http=PatientProtocol,
                log_config=None,  # all loggers keep the format of `set_up`
                log_level="warning",
                access_log=False,
                ws="none",
                lifespan="on",
                timeout_keep_alive=math.ceil(service.config.idle_s),
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self.failure: str | None = None  # how the engine broke; None: it did not
        self._service = service
        self._ready = ready
        self._draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._events = asyncio.get_running_loop()  # first: a signal may come at any moment
        await super().startup(sockets)
        if gc.isenabled():  # else this is a fresh process, whose garbage is not worth the half second to find it
            gc.collect()
        gc.freeze()  # what a model and its libraries hold stays: looking through it again holds all threads for long
        gc.enable()  # whoever loaded the model may have switched it off meanwhile
        self._watching = self._events.create_task(self._watch())
        if self.should_exit or self._draining:
            log.info("a signal has ended the server before it was ready")
        elif self.started:
            self._ready()

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
        end_within(min(GRACE_S, self._service.config.drain_s), self._status)

    def _status(self) -> int:
        """Returns the exit status, after the log has told why it is not 0."""
        if self.failure is not None:
            log.error("%s", self.failure)
        return int(self.failure is not None)

    async def _watch(self) -> None:
        self.failure = await self._service.broken()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self._service.drain()  # waiting clients get their error first
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._draining or not self.started:
            super().handle_exit(sig, frame)
        else:
            self._draining = True
            self._events.call_soon_threadsafe(self._begin_to_drain, sig, frame)

    def _begin_to_drain(self, sig: int, frame: FrameType | None) -> None:
        self._task = self._events.create_task(self._drain(sig, frame))

    async def _drain(self, sig: int, frame: FrameType | None) -> None:
        limit_s = self._service.config.drain_s
        log.info("the server takes no more requests; those under way have %g s", limit_s)
        try:
            async with asyncio.timeout(limit_s):
                await self._service.drain()
        except TimeoutError:
            log.warning("replies under way have not ended within %g s; they get an error", limit_s)
            await self._service.stop()
        super().handle_exit(sig, frame)


def _allow_connections() -> None:
    """Raises this process's limit on open files, connections among them, to the hard limit."""
    if resource is None:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems refuse their own hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"
