"""Starts the engine's process. Imports little: it runs while all else is still being imported."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laser.server.config import ServeConfig

MODULE = "laser.server.engine_process.host"
POSSIBLE = os.name == "posix"  # whether a socket can be handed to a child
SIZE = struct.Struct("!I")  # before the configuration, which is the first that a process gets


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process of the engine's, and this side's end of its socket."""

    process: subprocess.Popen[bytes]
    line: socket.socket

    def kill(self) -> None:
        """Ends the process at once, and waits for that."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def tell(self, config: ServeConfig) -> None:
        """Tells the process what to load, once."""
        what = pickle.dumps(config)
        with suppress(OSError):  # it has ended; whoever reads will see
            self.line.sendall(SIZE.pack(len(what)) + what)
        self.line.setblocking(False)

    @property
    def end(self) -> str:
        """How the process has ended, in words."""
        status = self.process.poll()
        if status is None:
            return "it goes on"
        if status >= 0:
            return f"status {status}"
        with suppress(ValueError):
            return signal.Signals(-status).name
        return f"signal {-status}"


@contextmanager
def spawned() -> Iterator[Child]:
    """A process of the engine's that waits to be told what to load; if it runs when the block ends, it is ended."""
    child = spawn()
    try:
        yield child
    finally:
        child.kill()
        child.line.close()


@contextmanager
def launched(config: ServeConfig, ahead: Child | None = None) -> Iterator[Child]:
    """The engine's first process, told what to load: `ahead`, which whoever spawned it ends, or else a new one."""
    if ahead is not None:
        ahead.tell(config)
        yield ahead
        return
    with spawned() as child:
        child.tell(config)
        yield child


def launch(config: ServeConfig) -> Child:
    """Starts a process that loads what `config` names, and then serves it over the socket."""
    child = spawn()
    child.tell(config)
    return child


def spawn() -> Child:
    """Starts a process that imports what it needs, and waits to be told what to load.

    A terminal's Ctrl-C and a supervisor's SIGTERM go to all processes; this one takes neither, since the server drains
    first.
    """
    ours, theirs = socket.socketpair()
    options = [f"-W{option}" for option in sys.warnoptions]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # a child inherits the mask
    try:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, *options, "-P", "-m", MODULE, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment,
            )
    except BaseException:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Child(process=process, line=ours)
