"""Kills a server's engine process while the server is used, and then the server itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx
import psutil

from laser.server_process import ServerProcess

HOST = "laser.server.engine_process.host"
ANSWERS = ("answer", "client gone", "error 400")  # some requests are wrong on purpose
RETRIED = (
    "error 429", "error 503", "error in the stream: unavailable", "error in the stream: overloaded",
    "error in the stream: rate_limit_exceeded", "error in the stream: server_error",  # the Responses API
)  # fmt: skip
ORPHAN_S = 2.0  # within which an engine whose server was killed must be gone
DESCRIPTORS = 16  # by which the server may hold more at the end than at the beginning: connections


@dataclass(slots=True)
class Kills:
    """What was seen of the server around each kill."""

    back_s: list[float] = field(default_factory=list)  # from a kill to the first answer
    descriptors: list[int] = field(default_factory=list)  # of the server, before each kill and at the end
    faults: list[str] = field(default_factory=list)
    orphan_s: float | None = None  # for which the engine outlived the server; None: longer than ORPHAN_S


def engine_of(server: int) -> psutil.Process | None:
    """Returns the engine's process of a server; None: there is none now."""
    for child in psutil.Process(server).children():
        try:
            if HOST in child.cmdline():
                return child
        except psutil.Error:
            continue
    return None


async def kill(served: ServerProcess, over: Callable[[], int], kills: Kills, places: Sequence[int]) -> None:
    """Kills the engine whenever as many requests are over as `places` say, and waits until the server answers again."""
    async with httpx.AsyncClient(base_url=served.url, trust_env=False, timeout=120.0) as client:
        for place in places:
            while over() < place:
                await asyncio.sleep(0.05)
            kills.descriptors.append(psutil.Process(served.pid).num_fds())
            engine = engine_of(served.pid)
            if engine is None:
                kills.faults.append(f"after {place} requests there is no engine to kill")
                continue
            began = time.monotonic()
            os.kill(engine.pid, signal.SIGKILL)
            body = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 1, "reasoning_effort": "none"}
            while (await client.post("/v1/chat/completions", json=body)).status_code != 200:
                await asyncio.sleep(0.05)
            kills.back_s.append(time.monotonic() - began)
            print(f"killed after {place} requests: it answers again after {kills.back_s[-1]:.1f} s", flush=True)


async def end_both(served: ServerProcess, kills: Kills) -> None:
    """Kills the server, and notes how long its engine outlives it."""
    kills.descriptors.append(psutil.Process(served.pid).num_fds())
    engine = engine_of(served.pid)
    assert engine is not None
    os.kill(served.pid, signal.SIGKILL)
    began = time.monotonic()
    while time.monotonic() - began < ORPHAN_S:
        if not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE:
            kills.orphan_s = time.monotonic() - began
            return
        await asyncio.sleep(0.01)


def faults(ends: Counter[str], kills: Kills) -> list[str]:
    """Returns what should not have been: an end of a request that may not be retried, descriptors kept, an orphan."""
    told = [*kills.faults]
    for end, times in ends.items():
        if not (end.startswith(ANSWERS) or end in RETRIED):
            told.append(f"{times} requests ended in {end!r}")
    if kills.descriptors[-1] > kills.descriptors[0] + DESCRIPTORS:
        told.append(f"the server's descriptors grew: {kills.descriptors}")
    if kills.orphan_s is None:
        told.append(f"the engine outlived its server for more than {ORPHAN_S:g} s")
    return told
