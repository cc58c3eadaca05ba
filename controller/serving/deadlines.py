"""Which waiting requests' deadlines have passed, without a look at every one of them on every tick."""

from __future__ import annotations

import math
from collections.abc import Iterable

from controller.serving.active import ActiveRequest


class Deadlines:
    """The deadlines of requests that wait, s on the loop's clock."""

    def __init__(self) -> None:
        self._soonest_s = math.inf  # no later than the first of them

    def add(self, requests: Iterable[ActiveRequest]) -> None:
        """Takes note of requests that have come."""
        for active in requests:
            if active.deadline_s is not None:
                self._soonest_s = min(self._soonest_s, active.deadline_s)

    def passed(self, now: float, requests: Iterable[ActiveRequest]) -> list[ActiveRequest]:
        """Returns those of `requests` that still wait, though their deadline is not after `now`."""
        if now < self._soonest_s:
            return []
        dated = [(active.deadline_s, active) for active in requests if active.started_s is None]
        limits = [(by_s, active) for by_s, active in dated if by_s is not None]
        self._soonest_s = min((by_s for by_s, _ in limits if by_s > now), default=math.inf)
        return [active for by_s, active in limits if by_s <= now]
