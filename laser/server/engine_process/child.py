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
def launched(config: ServeConfig) -> Iterator[Child]:
    """The engine's first process; if it still runs when the block ends, it is ended."""
    child = launch(config)
    try:
        yield child
    finally:
        child.kill()
        child.line.close()


def launch(config: ServeConfig) -> Child:
    """Starts a process that loads what `config` names, and then serves it over the socket.

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
    what = pickle.dumps(config)
    with suppress(OSError):  # it has ended at once; whoever reads will see
        ours.sendall(SIZE.pack(len(what)) + what)
    ours.setblocking(False)
    return Child(process=process, line=ours)
