"""Stops a server's engine process for a while, with SIGSTOP, under streams that go on behind it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.support.kills import engine_of
from laser.server_process import ServerProcess

WHOLE = "whole"
BEGUN = 2  # pieces that each stream has brought before the engine is stopped


@dataclass(slots=True)
class FreezeFound:
    """What was seen of a server whose engine was stopped."""

    stopped_s: float = 0.0
    told_s: float | None = None  # from the stop until /health told it; None: it never did
    over_s: float | None = None  # from the engine's going on until /health told no trouble; None: it always did
    ends: list[str] = field(default_factory=list)  # of the streams: why each ended, or what went wrong
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class StreamRead:
    """What one stream has brought so far."""

    tokens: int  # that it must bring
    pieces: int = 0
    last: dict[str, Any] = field(default_factory=dict)  # the last event before [DONE]
    done: bool = False
    fault: str | None = None  # that has broken it off

    @property
    def end(self) -> str:
        """How the stream has ended, in words."""
        if not self.done:
            return "broken off" if self.fault is None else f"broken off: {self.fault}"
        if "error" in self.last:
            return f"an error: {self.last['error']['message']}"
        return WHOLE if self.last["usage"]["completion_tokens"] == self.tokens else "cut short"


async def read(client: httpx.AsyncClient, reading: StreamRead, question: str) -> None:
    """Reads one stream to its end, which is that of its tokens alone. Raises what breaks it off, and notes it."""
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": reading.tokens}
    body |= {"stream": True, "ignore_eos": True, "stream_options": {"include_usage": True}}
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line == "data: [DONE]":
                    reading.done = True
                elif line.startswith("data: "):
                    reading.pieces += 1
                    reading.last = json.loads(line.removeprefix("data: "))
    except Exception as error:
        reading.fault = f"{type(error).__name__}: {error}"
        raise


async def begun(tasks: Sequence[asyncio.Task[None]], readings: Sequence[StreamRead]) -> None:
    """Waits until each stream has brought BEGUN pieces or is over.

    Raises what has broken one of them off before; then none is read on.
    """
    while not (errors := [error for task in tasks if task.done() and (error := task.exception()) is not None]):
        if all(one.pieces >= BEGUN or task.done() for one, task in zip(readings, tasks, strict=True)):
            return
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    raise errors[0]


async def freeze(served: ServerProcess, questions: Sequence[str], seconds: float, tokens: int = 2000) -> FreezeFound:
    """Stops the engine's process for `seconds` under a stream of `tokens` for each question, and reads them all.

    Raises what has broken off a stream before.
    """
    found, readings = FreezeFound(), [StreamRead(tokens=tokens) for _ in questions]
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=served.url, trust_env=False, timeout=None, limits=limits) as client:
        reading = [
            asyncio.create_task(read(client, one, question)) for one, question in zip(readings, questions, strict=True)
        ]
        await begun(reading, readings)
        engine = engine_of(served.pid)
        if engine is None:
            raise SystemExit("there is no engine to stop")
        os.kill(engine.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            found.told_s = await _trouble(client, began + seconds, there=True)
            await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        finally:
            os.kill(engine.pid, signal.SIGCONT)
        found.stopped_s = time.monotonic() - began
        running = sum(not task.done() for task in reading)
        found.over_s = await _trouble(client, time.monotonic() + seconds, there=False)
        await asyncio.gather(*reading, return_exceptions=True)
        after = engine_of(served.pid)
    found.ends = [one.end for one in readings]
    found.faults = [f"a stream has ended so: {end}" for end in found.ends if end != WHOLE]
    if found.told_s is None:
        found.faults.append("/health did not tell that the engine does not answer")
    if found.over_s is None:
        found.faults.append("/health went on telling of trouble")
    if running == 0:
        found.faults.append("all streams had ended before the engine was stopped")
    if after is None or after.pid != engine.pid:
        found.faults.append("the engine has another process now")
    return found


async def _trouble(client: httpx.AsyncClient, until: float, *, there: bool) -> float | None:
    """Returns the seconds until /health tells of a trouble, or of none; None: not before `until`."""
    began = time.monotonic()
    while time.monotonic() < until:
        if ((await client.get("/health")).json()["trouble"] is not None) is there:
            return time.monotonic() - began
        await asyncio.sleep(0.05)
    return None
