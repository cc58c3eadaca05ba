"""Runs `laser serve` in a child process, which ends when its parent process ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
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

    The module writes its address, a line, to the descriptor that `--ready-fd` names, once it answers requests.
    `log` None: stderr is discarded. Raises ServerError if the server does not start, or ended during the block.
    """
    with (log or Path(os.devnull)).open("wb") as errors, ExitStack() as pipe:
        read_end, write_end = os.pipe()  # after the file, which may not open
        ready = pipe.enter_context(open(read_end, encoding="utf-8"))
        try:
            server = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "laser.tethered", module, *arguments, "--ready-fd", str(write_end),
                stdin=asyncio.subprocess.PIPE,  # closes with this process: the server does not outlive it
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(write_end,),
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        finally:
            os.close(write_end)  # the server's copy remains, so that its end closes the pipe
        async with _ending(server):
            url = (await asyncio.to_thread(ready.readline)).strip()
            if not url:
                raise ServerError(f"{module} serve did not start: {_last_words(log)}")
            yield ServerProcess(url=url, pid=server.pid)
            if server.returncode is not None:
                raise ServerError(f"{module} serve has ended with {server.returncode}: {_last_words(log)}")


@asynccontextmanager
async def _ending(server: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        yield
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
