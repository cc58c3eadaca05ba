"""Admission: which request enters the engine next, how long the others wait, and which are turned away.

The engine gets no more requests than it can run. The others wait here, where turns are fair and a request's position is
known. A full queue is also shared by weight: the tenant with the largest backlog gives way. Pure: what depends on the
present time comes with each call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from controller.serving.fair_queue import Claim, FairQueue
from controller.serving.pace import Pace
from models.files.checks import at_least

T = TypeVar("T")

RETRY_S = 1.0  # least `retry_after_s`


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """Limits on running requests, waiting requests and the expected wait. None: no limit."""

    slots: int | None = None  # requests in the engine
    max_waiting: int | None = None  # requests in the queue
    max_wait_s: float | None = None  # expected wait of a new request

    def __post_init__(self) -> None:
        at_least(self, 1, "slots")
        at_least(self, 0, "max_waiting")
        if self.max_wait_s is not None and not self.max_wait_s > 0.0:
            raise ValueError(f"max_wait_s is {self.max_wait_s}, must be above 0")


class Overloaded(Exception):
    """A request is turned away; the message says why. `retry_after_s`: the wait it would have had, at least RETRY_S."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A request's position in the queue."""

    position: int  # 1: the next
    eta_s: float  # expected time until the request begins


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The queue's status: one immutable value, replaced as the queue moves."""

    running: int = 0
    turns: tuple[tuple[str, Turn], ...] = ()  # (request's name, turn), in queue order
    drain_s: float = 0.0  # expected time until all waiting requests have begun
    first_s: float = 0.0  # expected time until a request makes room for the next
    each_s: float = 0.0  # expected time between two that do
    turned_away: int = 0  # since the start

    @property
    def waiting(self) -> int:
        """Number of waiting requests."""
        return len(self.turns)

    def wait_s(self, place: int) -> float:
        """Returns the expected time until the request at a place of the queue begins; 1: the next."""
        return self.first_s + (place - 1) * self.each_s

    def turn(self, name: str) -> Turn | None:
        """Returns a request's turn; None: no request of this name waits."""
        return next((turn for other, turn in self.turns if other == name), None)


class Admission(Generic[T]):
    """The queue before the engine, and its limits.

    In the methods `ages` are the ages of the requests that run in the engine, in steps. `held_up` are requests that
    were handed to the engine and wait for its memory; they come before all requests in this queue. `paused` are the
    claims of those that gave their slot away; they go on before the waiting requests of their tenant, as most do.
    """

    def __init__(self, limits: AdmissionLimits, pace: Pace) -> None:
        self._limits = limits
        self._pace = pace
        self._queue: FairQueue[T] = FairQueue()
        self.turned_away = 0  # since the start

    def __len__(self) -> int:
        return len(self._queue)

    def check(
        self,
        claim: Claim,
        ages: Sequence[int],
        *,
        held_up: int = 0,
        paused: Sequence[Claim] = (),
        fits: bool = True,
        patience_s: float | None = None,
    ) -> tuple[T, Overloaded] | None:
        """Takes out the request that gives way to a new one, if any, and returns it with the error to send to it.

        `fits`: whether the engine has memory for the new request; `patience_s`: the longest wait that the new request
        accepts, None: any. Raises Overloaded if the new request itself is turned away.
        """
        limits, waiting = self._limits, len(self._queue)
        if not waiting and fits and self.slot_free(len(ages) + held_up):
            return None
        is_full = limits.max_waiting is not None and waiting >= limits.max_waiting
        if not is_full and limits.max_wait_s is None and patience_s is None:
            return None
        wait = self._wait(ages)
        wait_s = wait(held_up + _before(claim, paused) + self._queue.ahead(claim) + 1)
        full = f"{waiting} requests wait already, may be at most {limits.max_waiting}"
        last = self._queue.giving_way(claim) if is_full else None
        if is_full and last is None:
            raise self._refusal(full, wait_s)
        about = f"the wait would be about {wait_s:.1f} s"
        if limits.max_wait_s is not None and wait_s > limits.max_wait_s:
            raise self._refusal(f"{about}, may be at most {limits.max_wait_s:g} s", wait_s)
        if patience_s is not None and wait_s > patience_s:
            raise self._refusal(f"{about}, the request allows {patience_s:g} s", wait_s)
        if last is None:
            return None
        line = enumerate(self._queue.line(), start=1)
        place = next(place + _before(its, paused) for place, (item, its) in line if item is last)
        whose = "a more urgent one" if self._queue.tenant(last) == claim.tenant else "another key's"
        self._queue.remove(lambda item: item is last)
        why = f"{full}, and this one gives way to {whose}"
        return last, self._refusal(why, wait(held_up + place))

    def head(self) -> T | None:
        """Returns the next request, which stays in the queue; None: none waits."""
        return self._queue.head() if len(self._queue) else None

    def push(self, item: T, claim: Claim) -> None:
        """Adds a request to the queue."""
        self._queue.push(item, claim)

    def next(self, running: int, fits: Callable[[T], bool] = lambda item: True) -> T | None:
        """Takes out and returns the next request; None: none waits, no slot is free, or the request does not fit."""
        if not len(self._queue) or not self.slot_free(running) or not fits(self._queue.head()):
            return None
        return self._queue.pop()

    def defer(self, claim: Claim, left: float) -> float:
        """Takes back the charge for the `left` tokens of a request that pauses; returns how many had been charged."""
        return self._queue.defer(claim, left)

    def go_on(self, claim: Claim, refunded: float) -> None:
        """Charges a paused request that goes on for the tokens that were `refunded` when it paused."""
        self._queue.go_on(claim, refunded)

    def start(self, claim: Claim) -> float:
        """Returns the virtual time at which the tenant's next request starts: the smallest is served first."""
        return self._queue.start(claim)

    def settle(self, claim: Claim, cost: float) -> None:
        """Corrects the charge for a request from `next` that has ended and has cost `cost` tokens."""
        self._queue.settle(claim, cost)

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Takes out and returns all `unwanted` requests."""
        return self._queue.remove(unwanted)

    def state(
        self,
        ages: Sequence[int],
        name: Callable[[T], str],
        held_up: Sequence[T] = (),
        paused: Sequence[Claim] = (),
    ) -> QueueState:
        """Returns the queue's status now; `name` gives a request's name."""
        first_s, each_s = self._pace.room_s(ages)
        wait = self._wait(ages)
        line = [*((item, 0) for item in held_up), *((one, _before(claim, paused)) for one, claim in self._queue.line())]
        turns = tuple(
            (name(item), Turn(position=place, eta_s=wait(place + before)))
            for place, (item, before) in enumerate(line, start=1)
        )
        return QueueState(
            running=len(ages),
            turns=turns,
            drain_s=max((turn.eta_s for _, turn in turns), default=0.0),
            first_s=first_s,
            each_s=each_s,
            turned_away=self.turned_away,
        )

    def slot_free(self, running: int) -> bool:
        """Whether the engine may run one more request beside `running` ones."""
        return self._limits.slots is None or running < self._limits.slots

    def free(self, running: int) -> int:
        """Returns the places beside `running` requests; 0 if nobody has said how many there are."""
        return 0 if self._limits.slots is None else max(0, self._limits.slots - running)

    def _wait(self, ages: Sequence[int]) -> Callable[[int], float]:
        """Returns a function from a position in the queue to the expected time until that request begins, s."""
        first_s, each_s = self._pace.room_s(ages)
        return lambda place: first_s + (place - 1) * each_s

    def _refusal(self, why: str, wait_s: float) -> Overloaded:
        self.turned_away += 1
        return Overloaded(f"the server is busy: {why}", retry_after_s=max(RETRY_S, wait_s))


def _before(claim: Claim, paused: Sequence[Claim]) -> int:
    """Returns how many paused requests of a claim's tenant, none of them less urgent, are likely to go on before it."""
    return sum(one.tenant == claim.tenant and one.priority <= claim.priority for one in paused)
