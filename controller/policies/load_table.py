"""A baseline table: a budget for each range of the number of requests in the system, the same for every class.

The policy does not probe, estimate or use a certificate: an operator could write such a table by hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from controller.policy import Limits, QueueLengthObserver


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The budget that applies from `in_system` requests in the system on."""

    in_system: int
    budget: int | None  # thinking tokens; None: no budget


class LoadTable(QueueLengthObserver):
    """A Policy and a LoadObserver."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Raises ValueError if `rows` do not begin with 0 requests or do not rise."""
        if not rows or rows[0].in_system != 0:
            raise ValueError(f"the table begins with {rows[0].in_system if rows else 'nothing'}, must begin with 0")
        for one, other in pairwise(rows):
            if other.in_system <= one.in_system:
                raise ValueError(f"in_system is {other.in_system} after {one.in_system}, must rise")
        self._rows = tuple(rows)
        self._limits = Limits(budget=rows[0].budget)

    def limits(self, difficulty: str | None) -> Limits:
        """The budget now in force, for every class."""
        return self._limits

    def tick(self, now: float, in_system: int) -> None:
        row = max((row for row in self._rows if row.in_system <= in_system), key=lambda row: row.in_system)
        if row.budget != self._limits.budget:
            self._limits = Limits(budget=row.budget)


def spread(budgets: Sequence[int | None], max_batch: int) -> tuple[Row, ...]:
    """Returns rows with the budgets, longest first, spread evenly over 0 … max_batch requests in the system."""
    longest_first = sorted(set(budgets), key=lambda budget: -math.inf if budget is None else -budget)
    step = max_batch / len(longest_first)
    places = [math.ceil(number * step) for number in range(len(longest_first))]
    rows = dict(zip(places, longest_first, strict=True))  # where several budgets share a place, the shortest stays
    return tuple(Row(in_system=place, budget=budget) for place, budget in rows.items())
