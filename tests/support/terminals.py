"""`laser` in a terminal, which is a pty."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.live_server import WAIT_S


@contextmanager
def terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """`laser` on a terminal of 100 columns: the process, and both ends of the terminal."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(ours, (40, 100))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment["TERM"] = "xterm-256color"
    line = [sys.executable, "-m", "laser", *arguments]
    process = subprocess.Popen(line, stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True)
    try:
        yield process, ours, its
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(its)


def read_until(end: int, text: str, limit_s: float = 3 * WAIT_S) -> str:
    """What a terminal shows until it has shown `text`."""
    shown, until = b"", time.monotonic() + limit_s
    while text.encode() not in shown:
        assert time.monotonic() < until, shown.decode(errors="replace")
        if select.select([end], [], [], 0.1)[0]:
            shown += os.read(end, 65536)
    return shown.decode(errors="replace")
