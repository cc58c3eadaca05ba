"""The process that runs math-verify: started when it is first asked, killed when it takes too long."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

from models.errors import LaserError

START_S = 120.0  # s to load sympy, on a machine that does other work
BUSY = 15.0  # times its CPU time that an answer may take on such a machine
_WORKER = Path(__file__).with_name("worker.py")


class GradingError(LaserError, RuntimeError):
    """math-verify does not run; the message says why."""


class Mathematician:
    """Asks math-verify, one pair at a time, from any thread."""

    def __init__(self, limit_s: float) -> None:
        """`limit_s`: s of CPU time an answer; without a verdict by then the process ends."""
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None  # None: nobody has asked since the last one ended
        self._end: weakref.finalize[[subprocess.Popen[bytes]], Mathematician] | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs; None: there is none."""
        return None if self._process is None else self._process.pid

    def same(self, answer: str, gold: str) -> bool | None:
        """Whether two answers are the same to math-verify; None: it has no verdict. Raises GradingError."""
        with self._lock:
            process = self._process or self._start()
            said = None
            try:
                assert process.stdin is not None
                process.stdin.write(json.dumps([answer, gold]).encode() + b"\n")  # fits an empty pipe
                said = _line(process, BUSY * self._limit_s)
            except BrokenPipeError:
                pass  # it has ended, or was killed
            finally:
                if said is None:  # after an interrupt, too: a verdict that comes late would be the next question's
                    self._stop()
            return said if isinstance(said, bool) else None

    def close(self) -> None:
        """Ends the process. The next question starts another."""
        with self._lock:
            self._stop()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER), str(self._limit_s)],
            stdin=subprocess.PIPE,  # closes with this process, which ends the worker
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._process, self._end = process, weakref.finalize(self, _kill, process)
        said = None
        try:
            said = _line(process, START_S)
        finally:
            if said != "ready":
                self._stop()
        if said != "ready":
            raise GradingError(said if isinstance(said, str) else f"math-verify did not start within {START_S:g} s")
        return process

    def _stop(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._end = None


def _line(process: subprocess.Popen[bytes], within_s: float) -> object:
    """Returns what the process says next; None: nothing within this time, or it has ended."""
    assert process.stdout is not None
    end, said = time.monotonic() + within_s, b""
    while not said.endswith(b"\n"):
        left = end - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            return None
        piece = os.read(process.stdout.fileno(), 4096)
        if not piece:
            return None
        said += piece
    return json.loads(said)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()
