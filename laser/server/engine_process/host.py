"""`python -m laser.server.engine_process.host FD PARENT`: the engine's process.

It reads a configuration from the socket FD, loads what that names, and serves it by the commands that follow. It ends
with its parent, whatever ends that: by the kernel's word where there is one, else when the socket closes.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import pickle
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from engine.loading import watched
from laser.server.engine_process.child import SIZE
from laser.server.engine_process.driver import LoopDriver
from laser.server.engine_process.measuring import Measuring
from laser.server.engine_process.messages import (
    Command,
    Deployed,
    Event,
    Inquire,
    Loading,
    Ping,
    PolicyReport,
    Pong,
    Seen,
    Stop,
    Unloaded,
)
from laser.server.engine_process.wire import COMMANDS, Unpacker, packed
from laser.server.telemetry.logs import set_up
from models.errors import LaserError
from models.foreign import hush
from models.parent import end_with

if TYPE_CHECKING:
    from laser.server.config import ServeConfig
    from laser.server.deployment import Deployment

log = logging.getLogger(__name__)

MOST_COMMANDS = 4096  # that wait for the loop; beyond, the sender waits
PART = 1 << 16  # bytes read at once
BROKEN = 3  # exit status: only a new process can serve


def end(status: int) -> NoReturn:
    """Ends the process at once, whatever its threads and libraries are at."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


class HostLine:
    """The socket to whoever serves HTTP. Writes one frame at a time, of whichever thread."""

    def __init__(self, connection: socket.socket, gone: Callable[[int], None] = end) -> None:
        """`gone` is called with an exit status once there is no other side."""
        self._connection = connection
        self.gone = gone
        self._lock = threading.Lock()

    def send(self, events: list[Event]) -> None:
        """Writes events, and waits while the other side does not read. Ends the process if there is none."""
        frame = packed(events)
        with self._lock:
            try:
                self._connection.sendall(frame)
            except OSError:
                self.gone(0)

    def configuration(self) -> ServeConfig:
        """Returns what is to be served."""
        (size,) = SIZE.unpack(self._exactly(SIZE.size))
        found: ServeConfig = pickle.loads(self._exactly(size))
        return found

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._connection.recv(size - len(data))
            if not part:
                raise EOFError("the server has gone before it said what to serve")
            data += part
        return data

    def receive(self) -> bytes:
        """Waits for bytes and returns them; none: the other side has gone."""
        try:
            return self._connection.recv(PART)
        except OSError:
            return b""


class Host:
    """Loads a model, and serves it over a line."""

    def __init__(self, line: HostLine, inbox: queue.Queue[Command] | None = None) -> None:
        """`inbox`: where commands wait for the loop; None: a bounded one."""
        self._line = line
        self._inbox: queue.Queue[Command] = inbox or queue.Queue(MOST_COMMANDS)
        self._deployment: Deployment | None = None  # None: it is being loaded
        self._driver: LoopDriver | None = None
        self._pass_on: Callable[[Command], None] = self._inbox.put
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def load(self, config: ServeConfig) -> Deployment:
        """Loads what `config` names, tells the log, and the line how far it is. Ends the process if it cannot."""
        from engine.registry import check_gguf
        from laser.server.telemetry.startup import loading, tell

        try:
            check_gguf(config.model, config.engine_options, pauses=config.pauses)
            with loading(config) as stage:

                def begun(name: str) -> None:
                    stage(name)
                    self._line.send([Loading(stage=name)])

                begun("libraries")
                from laser.server.deployment import deploy

                with watched(lambda share: self._line.send([Loading(stage="weights", share=share)])):
                    deployment = deploy(config, stage=begun, late=True)
        except (LaserError, OSError, ValueError) as error:
            lines = error.lines if isinstance(error, LaserError) else (" ".join(str(error).split()),)
            self._line.send([Unloaded(lines=lines)])
            end(1)
        tell(deployment)
        return deployment

    def serve(self, deployment: Deployment) -> int:
        """Serves until it is told to stop; returns the exit status."""
        self._driver = driver = LoopDriver(
            deployment.loop,
            self._line.send,
            report=lambda: _report(deployment),
            ended=deployment.gains.count,
            apart=True,
            inbox=self._inbox,
        )
        served = deployment.served
        self._pass_on = Measuring(deployment.grammars, self._inbox.put, self._line.send).take
        self._deployment = deployment
        self._line.send(
            [
                Deployed(
                    model_id=served.model_id,
                    vocabulary=deployment.opened.vocabulary,
                    room=served.room,
                    engine=served.engine,
                    knows=served.knows,
                    difficulty=served.difficulty,
                    tells_length=served.tells_length,
                    certified=served.certified,
                    cells=deployment.loop.load.cells_total,
                    report=_report(deployment),
                    switch=served.switch,
                )
            ]
        )
        deployment.chosen.begin()
        deployment.grammars.warm_up()
        driver.run()
        deployment.chosen.close()
        return 0 if driver.broken is None else BROKEN

    def _read(self) -> None:
        """Takes commands as they come. What needs no step is answered here, whatever the loop does meanwhile."""
        unpacker = Unpacker(COMMANDS)
        try:
            while data := self._line.receive():
                for commands in unpacker.feed(data):
                    for command in commands:
                        self._take(command)
        except BaseException:  # nobody could stop a process that does not listen
            log.critical("what the server says is not understood", exc_info=True)
            self._line.gone(1)
        else:
            self._line.gone(0)

    def _take(self, command: Command) -> None:
        deployment, driver = self._deployment, self._driver
        if isinstance(command, Ping):
            self._line.send([Pong(step_s=None if driver is None else driver.busy_s)])
        elif isinstance(command, Stop) and deployment is None:
            end(0)
        elif isinstance(command, Inquire) and not command.whole and deployment is not None:
            self._line.send([Seen(call=command.call, report=_report(deployment))])
        else:
            self._pass_on(command)


def _report(deployment: Deployment) -> PolicyReport:
    from laser.server.controller_report import report

    return PolicyReport(controller=report(deployment.chosen).model_dump(), gained=deployment.gains.gained())


def main() -> None:
    """Loads and serves."""
    descriptor, parent = map(int, sys.argv[1:])
    end_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM):  # of a terminal or a supervisor, meant for the server
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    faulthandler.enable()
    hush()
    gc.disable()  # until the model is loaded: a sixth of the start went to looking through libraries for garbage
    line = HostLine(socket.socket(fileno=descriptor))
    try:
        config = line.configuration()
    except EOFError:
        end(0)
    set_up(config.log_format)
    host = Host(line)
    deployment = host.load(config)
    gc.freeze()  # what a model and its libraries hold stays: looking through it again holds all threads for long
    gc.enable()
    end(host.serve(deployment))


if __name__ == "__main__":
    main()
