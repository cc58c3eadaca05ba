"""Reads bodies for the event loop: small ones at once, large ones in a process of their own."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import TypeVar

from pydantic import BaseModel

from laser.server.api.errors import ApiError, Busy, ServerFailure, Unavailable
from laser.server.api.fields import GenerationFields
from laser.server.intake.bounds import TextBounds
from laser.server.intake.framing import HEAD, Assembly, frame
from laser.server.intake.reading import plain_structure, read
from laser.server.intake.turns import Release, Turns
from laser.server.keys import Caller

log = logging.getLogger(__name__)

MODULE = "laser.server.intake.worker"
READ_S = 20.0  # s for one body, the start of the process among them
END_S = 1.0  # s for the process to end by itself
WAITING = 64  # bodies that may wait for the process; the gate lets fewer large ones in
PART = 256 * 1024  # bytes written at once

M = TypeVar("M", bound=BaseModel)


class BodyReader:
    """Reads bodies within bounds. The process is started for the first large body, and again if it has ended."""

    def __init__(self, bounds: TextBounds, others: TextBounds | None = None, *, read_s: float = READ_S) -> None:
        """`others`: of requests for no reply; None: the same. `read_s`: for one body, before the process is killed."""
        self._bounds = bounds
        self._others = others or bounds
        self._read_s = read_s
        self._turns = Turns("large bodies", slots=1, waiting=WAITING)
        self._process: Process | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process's id; None: it does not run."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def read(self, raw: bytes, model: type[M], caller: Caller, release: Release | None = None) -> M:
        """Returns what a body asks for. Raises ApiError: the body is wrong, too many wait, or it takes too long.

        The next large body is read when `release` is called, so that the objects of one are in memory: Python's
        collector holds up the event loop for as long as it looks at them. None: when this one has been read.
        """
        bounds = self._bounds if issubclass(model, GenerationFields) else self._others
        measured = plain_structure(raw)
        if measured is not None:
            return read(raw, model, bounds, measured)
        end = await self._turns.take(caller, len(raw))
        done = asyncio.ensure_future(self._apart(raw, model, bounds))

        def over(task: asyncio.Future[M]) -> None:  # also if the client has gone: the process reads the body to its end
            failed = task.cancelled() or task.exception() is not None  # nobody else may be there to see it
            if failed or release is None:
                end()
            else:
                release.add(end)

        done.add_done_callback(over)
        return await asyncio.shield(done)

    async def _apart(self, raw: bytes, model: type[M], bounds: TextBounds) -> M:
        task = pickle.dumps((model, bounds))
        for _ in range(2):  # the process may have ended since the last body
            try:
                async with asyncio.timeout(self._read_s):
                    return await self._ask(await self._running(), task, raw)
            except TimeoutError as error:
                await self._end()
                raise Busy(f"the body could not be read within {self._read_s:g} s", 1.0) from error
            except (OSError, asyncio.IncompleteReadError):
                if self._closed:
                    raise Unavailable("the server is shutting down") from None
                log.warning("the process that reads large bodies has ended; another one is started")
                await self._end()
            except asyncio.CancelledError:  # the event loop ends: the process may be in the midst of its body
                await self._end()
                raise
        raise ServerFailure("the process that reads large bodies has ended twice")

    async def _ask(self, process: Process, task: bytes, raw: bytes) -> M:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frame(task) + HEAD.pack(len(raw)))
        for start in range(0, len(raw), PART):
            process.stdin.write(raw[start : start + PART])
            await process.stdin.drain()
        assembly = Assembly(await _frame(process.stdout))
        while piece := await _frame(process.stdout):
            assembly.add(piece)
            await asyncio.sleep(0)  # others come between two pieces
        made = assembly.whole()
        if isinstance(made, ApiError):
            raise made
        return made  # type: ignore[no-any-return]

    async def _running(self) -> Process:
        if self._closed:
            raise Unavailable("the server is shutting down")
        if self._process is None or self._process.returncode is not None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", MODULE, stdin=PIPE, stdout=PIPE, env=environment
            )
        return self._process

    async def close(self) -> None:
        """Ends the process: by itself, or within END_S by force."""
        self._closed = True
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            process.stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await process.wait()
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        transport = process._transport  # type: ignore[attr-defined] # its pipes stay open else
        transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await process.wait()


async def _frame(source: asyncio.StreamReader) -> bytes:
    (size,) = HEAD.unpack(await source.readexactly(HEAD.size))
    return await source.readexactly(size)
