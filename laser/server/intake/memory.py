"""Memory that large bodies have taken, given back to the system once none of them is left."""

from __future__ import annotations

import asyncio
import ctypes
from contextlib import suppress

SOON_S = 0.5  # after the last large body: its last copies go, and more may be coming


def give_back() -> None:
    """Returns freed memory to the system, where the C library can. Threads that allocate meanwhile may wait for it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Tidy:
    """Gives memory back beside the event loop, a little after it is told that there is some."""

    def __init__(self) -> None:
        self._due: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Gives memory back SOON_S after the last call."""
        if self._due is not None:
            self._due.cancel()
        loop = asyncio.get_running_loop()
        self._due = loop.call_later(SOON_S, lambda: loop.run_in_executor(None, give_back))
