"""The replies to one request: they wait for one turn, begin together, and end one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller.serving.active import ActiveRequest
    from controller.serving.request import RequestId


class Together:
    """The replies to one request that have not ended, in the order of their choices."""

    def __init__(self, id: RequestId) -> None:
        """`id` is the request's, which is that of its first choice, too."""
        self.id = id
        self._members: list[ActiveRequest] = []
        self._cost = 0  # of those that have ended, tokens
        self._begun = False  # one of those had begun

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[ActiveRequest]:
        """Goes through those that had not ended when it began."""
        return iter(tuple(self._members))

    @property
    def lead(self) -> ActiveRequest:
        """The first of them, which stands for all in the queue."""
        return self._members[0]

    @property
    def by_id(self) -> dict[RequestId, ActiveRequest]:
        """All of them by their ids."""
        return {active.id: active for active in self._members}

    @property
    def begun(self) -> bool:
        """Whether any has begun, of those that have ended, too: they have left the queue, and are charged for."""
        return self._begun or any(active.begun for active in self._members)

    @property
    def cells(self) -> int:
        """KV cache cells (tokens) that they may need."""
        return sum(active.cells for active in self._members)

    def add(self, active: ActiveRequest) -> None:
        """Takes in one more choice."""
        self._members.append(active)

    def leave(self, active: ActiveRequest) -> int | None:
        """One has ended. Returns what all have cost, tokens, if it was the last; None: others go on."""
        self._members.remove(active)
        self._cost += active.cost
        self._begun = self._begun or active.begun
        return None if self._members else self._cost


def for_each(work: Callable[[ActiveRequest], object], those: Iterable[ActiveRequest]) -> None:
    """Does the work for each of them, whatever fails at one; raises the first failure, a panic, too, at the end."""
    failures: list[BaseException] = []
    for active in those:
        try:
            work(active)
        except BaseException as error:
            failures.append(error)
    if failures:
        raise failures[0]
