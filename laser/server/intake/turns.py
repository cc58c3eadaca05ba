"""Turns at something that few may use at once, fair between API keys; the line of those who wait is bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from controller.serving.fair_queue import Claim, FairQueue
from laser.server.api.errors import Busy
from laser.server.keys import Caller

SMOOTH = 0.2  # of the newest time in the mean

Waiter: TypeAlias = "tuple[Claim, asyncio.Future[None]]"


class Release:
    """Gives back, once, what a request holds while it is prepared."""

    def __init__(self) -> None:
        self._held: list[Callable[[], None]] = []
        self._over = False

    def add(self, give: Callable[[], None]) -> None:
        """Has `give` called at the release; at once if that has been."""
        if self._over:
            give()
        else:
            self._held.append(give)

    def __call__(self) -> None:
        self._over = True
        while self._held:
            self._held.pop()()


class Turns:
    """Gives turns to callers in a fair order."""

    def __init__(self, what: str, *, slots: int, waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`what` waits, for errors. `slots`: turns at once. `waiting`: the most that may wait."""
        self._what = what
        self._free = slots
        self._slots = slots
        self._most = waiting
        self._clock = clock
        self._queue: FairQueue[Waiter] = FairQueue()
        self._turn_s = 0.1  # mean of a turn, s

    @asynccontextmanager
    async def turn(self, caller: Caller, cost: float) -> AsyncIterator[None]:
        """Waits for a turn, and takes it for the block. Raises Busy if too many wait, now or while this one waits."""
        end = await self.take(caller, cost)
        try:
            yield
        finally:
            end()

    async def take(self, caller: Caller, cost: float) -> Callable[[], None]:
        """Waits for a turn; returns what ends it. Raises Busy if too many wait, now or while this one waits."""
        claim = Claim(tenant=caller.name, weight=caller.weight, cost=max(1.0, cost))
        if len(self._queue) >= self._most:
            self._make_way(claim)
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.push((claim, mine), claim)
        self._next()
        try:
            await mine
        except BaseException:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self._end(claim)  # the turn came as the caller went
            else:
                self._queue.remove(lambda other: other[1] is mine)
            raise
        began = self._clock()

        def end() -> None:
            self._turn_s += SMOOTH * (self._clock() - began - self._turn_s)
            self._end(claim)

        return end

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def _make_way(self, claim: Claim) -> None:
        """Raises Busy for a new caller, or for the one that gives way to it."""
        wait_s = self._turn_s * (self._most + 1) / self._slots
        refusal = Busy(f"{self._most} {self._what} wait already", max(0.1, wait_s))
        last = self._queue.giving_way(claim)
        if last is None:
            raise refusal
        self._queue.remove(lambda other: other is last)
        if not last[1].done():
            last[1].set_exception(refusal)

    def _next(self) -> None:
        while self._free and len(self._queue):
            claim, first = self._queue.pop()
            if first.done():  # the caller has gone, and its place is not given up yet
                self._queue.settle(claim, 0.0)
                continue
            self._free -= 1
            first.set_result(None)

    def _end(self, claim: Claim) -> None:
        self._queue.settle(claim, claim.cost)
        self._free += 1
        self._next()
