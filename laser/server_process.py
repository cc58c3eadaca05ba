"""Runs `laser serve` in a child process, which ends when its parent process ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from models.errors import LaserError

END_S = 20.0  # s for a server to end after SIGTERM, before it is killed


class ServerError(LaserError, RuntimeError):
    """The server did not start, or ended while it was needed; the message has the last line of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """A running server."""

    url: str
    pid: int


@asynccontextmanager
async def serving(
    arguments: Sequence[str], log: Path | None = None, *, module: str = "laser"
) -> AsyncIterator[ServerProcess]:
    """Starts `python -m module` with `arguments`, and ends it when the block ends; its stderr goes to `log`.

    `log` None: stderr is discarded. Raises ServerError if the server does not start, or ended during the block.
    """
    with (log or Path(os.devnull)).open("wb") as errors:
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "laser.tethered", module, *arguments,
            stdin=asyncio.subprocess.PIPE,  # closes with this process: the server does not outlive it
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        assert server.stdout is not None
        ready = re.search(r"is ready at (http://\S+)", (await server.stdout.readline()).decode())
        if ready is None:
            raise ServerError(f"{module} serve did not start: {_last_words(log)}")
        yield ServerProcess(url=ready[1], pid=server.pid)
        if server.returncode is not None:
            raise ServerError(f"{module} serve has ended with {server.returncode}: {_last_words(log)}")
    finally:
        if server.returncode is None:
            server.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(server.wait(), END_S)
            except TimeoutError:
                server.kill()
                await server.wait()


def _last_words(log: Path | None) -> str:
    if log is None:
        return "run it alone to see why"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
