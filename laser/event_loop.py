"""How late the event loop is: whatever holds it up holds up every stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY_S = 0.05


async def watch_lag(observe: Callable[[float], None], every_s: float = EVERY_S) -> None:
    """Tell for ever, every so often, how many seconds after its time a call came."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every_s
        await asyncio.sleep(every_s)
        observe(max(0.0, loop.time() - due))
