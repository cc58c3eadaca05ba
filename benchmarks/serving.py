"""A `laser serve` in a process of its own, for the benchmarks that need one."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that runs."""

    url: str
    pid: int


@asynccontextmanager
async def serving(arguments: Sequence[str], module: str = "laser") -> AsyncIterator[Served]:
    """Start it with these arguments of `python -m module`, and end it with the block."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert server.stdout is not None
        ready = (await server.stdout.readline()).decode()
        found = re.search(r"is ready at (http://\S+)", ready)
        if found is None:
            raise SystemExit(f"{module} did not start: {ready.strip() or 'run it alone to see why'}")
        yield Served(url=found[1], pid=server.pid)
    finally:
        if server.returncode is None:
            server.send_signal(signal.SIGTERM)
            await server.wait()
