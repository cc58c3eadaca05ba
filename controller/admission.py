"""Admission: who enters the engine next, who waits for how long, and who is told to come back later.

The engine is handed no more than it can run, so that whoever waits does so here, where turns are fair and a place in
the queue can be told. Pure: what depends on the present time comes with each call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from controller.fair_queue import Claim, FairQueue
from controller.pace import Pace

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """How many may run, and how many may wait for how long. None: no limit."""

    slots: int | None = None  # requests in the engine
    max_waiting: int | None = None
    max_wait_s: float | None = None  # that a new request may expect

    def __post_init__(self) -> None:
        if self.slots is not None and self.slots < 1:
            raise ValueError(f"slots is {self.slots}, must be at least 1")
        if self.max_waiting is not None and self.max_waiting < 0:
            raise ValueError(f"max_waiting is {self.max_waiting}, must be at least 0")
        if self.max_wait_s is not None and not self.max_wait_s > 0.0:
            raise ValueError(f"max_wait_s is {self.max_wait_s}, must be above 0")


class Overloaded(Exception):
    """A request is turned away; the message says why. `retry_after_s`: when those now before it will have begun."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A place in the queue."""

    position: int  # 1: the next
    eta_s: float  # until it begins


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """What the queue shows of itself: one immutable value, replaced as the queue moves."""

    running: int = 0
    turns: tuple[tuple[str, Turn], ...] = ()  # by the requests' names, in their order
    drain_s: float = 0.0  # until all of these have begun
    turned_away: int = 0  # since the start

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self.turns)

    def turn(self, name: str) -> Turn | None:
        """A request's place; None once it has begun."""
        return next((turn for other, turn in self.turns if other == name), None)


class Admission(Generic[T]):
    """The queue before the engine, and its limits."""

    def __init__(self, limits: AdmissionLimits, pace: Pace) -> None:
        self._limits = limits
        self._pace = pace
        self._queue: FairQueue[T] = FairQueue()
        self._turned_away = 0

    def __len__(self) -> int:
        return len(self._queue)

    def check(self, ages_s: Sequence[float], patience_s: float | None = None) -> None:
        """Raises Overloaded where one more cannot be borne.

        `ages_s`: how long those that run have run; `patience_s`: how long the new one would wait.
        """
        limits, waiting = self._limits, len(self._queue)
        if limits.slots is None or len(ages_s) < limits.slots:
            return
        wait_s = self._wait_s(waiting + 1, ages_s)
        if limits.max_waiting is not None and waiting >= limits.max_waiting:
            why = f"{waiting} requests wait already, may be at most {limits.max_waiting}"
        elif limits.max_wait_s is not None and wait_s > limits.max_wait_s:
            why = f"the wait would be about {wait_s:.1f} s, may be at most {limits.max_wait_s:g} s"
        elif patience_s is not None and wait_s > patience_s:
            why = f"the wait would be about {wait_s:.1f} s, the request allows {patience_s:g} s"
        else:
            return
        self._turned_away += 1
        raise Overloaded(f"the server is busy: {why}", retry_after_s=wait_s)

    def push(self, item: T, claim: Claim) -> None:
        """Let a request wait for its turn."""
        self._queue.push(item, claim)

    def next(self, running: int) -> T | None:
        """The request whose turn it is, taken out; None while none waits or the engine is full."""
        if not len(self._queue) or (self._limits.slots is not None and running >= self._limits.slots):
            return None
        return self._queue.pop()

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out all requests of this kind."""
        return self._queue.remove(unwanted)

    def state(self, ages_s: Sequence[float], name: Callable[[T], str]) -> QueueState:
        """What is to be shown."""
        turns = tuple(
            (name(item), Turn(position=position, eta_s=self._wait_s(position, ages_s)))
            for position, item in enumerate(self._queue.order(), start=1)
        )
        return QueueState(
            running=len(ages_s),
            turns=turns,
            drain_s=self._wait_s(len(turns), ages_s),
            turned_away=self._turned_away,
        )

    def _wait_s(self, ahead: int, ages_s: Sequence[float]) -> float:
        mean_age_s = math.fsum(ages_s) / len(ages_s) if ages_s else 0.0
        return self._pace.wait_s(ahead, len(ages_s), mean_age_s)
