"""A queue that is fair between tenants, by weight, and keeps each tenant's own priorities.

Start-time fair queuing (Goyal, Vin and Cheng, 1996), pure: a tenant's next request starts at S = max(F, v), where F is
the virtual time at which its last one ends and v the present one; the smallest S is served, v becomes S, and F becomes
S + cost/weight. So over any busy stretch tenants get tokens in proportion to their weights, however long their queues
are, and none is starved. What a request has cost is known when it has ended: F is put right then. Priorities order a
tenant's own requests only: nobody gains on others by calling all urgent.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Whose a request is, and what it asks of the others."""

    tenant: str = ""
    weight: float = 1.0  # the tenant's share against that of others
    priority: int = 0  # among the tenant's own requests: lower is earlier
    length: float = 0.0  # predicted, tokens: of the tenant's equally urgent requests the shortest is first
    cost: float = 1.0  # tokens that it may take

    def __post_init__(self) -> None:
        for name in ("weight", "cost"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} is {value}, must be finite and above 0")


@dataclass(frozen=True, slots=True)
class _Place(Generic[T]):
    claim: Claim
    number: int  # of arrival
    item: T

    @property
    def rank(self) -> tuple[int, float, int]:
        return self.claim.priority, self.claim.length, self.number


@dataclass(slots=True)
class _Tenant(Generic[T]):
    ends: float = 0.0  # F
    unsettled: int = 0  # requests taken out, of which it isn't known yet what they cost
    waiting: list[_Place[T]] = field(default_factory=list)  # by rank

    def starts(self, virtual: float) -> float:
        return max(self.ends, virtual)

    def all_starts(self, virtual: float) -> list[float]:
        """S of each that waits, and of one behind them: v never overtakes the S of a tenant that waits."""
        costs = (place.claim.cost / place.claim.weight for place in self.waiting)
        return list(accumulate(costs, initial=self.starts(virtual)))

    @property
    def backlog(self) -> float:
        """How many wait, by weight."""
        return math.fsum(1.0 / place.claim.weight for place in self.waiting)


class FairQueue(Generic[T]):
    """Items of many tenants; `pop` gives the one whose turn it is."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant[T]] = {}
        self._virtual = 0.0  # v
        self._numbers = count()

    def __len__(self) -> int:
        return sum(len(tenant.waiting) for tenant in self._tenants.values())

    def push(self, item: T, claim: Claim) -> None:
        """Add an item behind those of its tenant that are as urgent."""
        tenant = self._tenants.setdefault(claim.tenant, _Tenant())
        insort(tenant.waiting, _Place(claim, next(self._numbers), item), key=lambda place: place.rank)

    def head(self) -> T:
        """The item whose turn it is. Raises IndexError where none waits."""
        return self._next().waiting[0].item

    def pop(self) -> T:
        """Take out the item whose turn it is, and charge its tenant; `settle` is to follow. Raises IndexError."""
        tenant = self._next()
        place = tenant.waiting.pop(0)
        self._virtual = tenant.starts(self._virtual)
        tenant.ends = self._virtual + place.claim.cost / place.claim.weight
        tenant.unsettled += 1
        self._clean()
        return place.item

    def settle(self, claim: Claim, cost: float) -> None:
        """An item that was taken out with this claim has cost so much: its tenant owes the rest, or gets it back."""
        tenant = self._tenants[claim.tenant]
        tenant.unsettled -= 1
        tenant.ends += (cost - claim.cost) / claim.weight
        self._clean()

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out all items of this kind; nobody is charged for them."""
        out: list[T] = []
        for tenant in self._tenants.values():
            out += [place.item for place in tenant.waiting if unwanted(place.item)]
            tenant.waiting = [place for place in tenant.waiting if not unwanted(place.item)]
        return out

    def order(self) -> list[T]:
        """All items in the order in which they would be taken out if nothing came between."""
        lines = (self._line(tenant) for tenant in self._tenants.values())
        return [place.item for _, _, place in heapq.merge(*lines, key=lambda line: line[:2])]

    def ahead(self, claim: Claim) -> int:
        """How many would be taken out before a newcomer, if nothing came between."""
        own: _Tenant[T] = self._tenants.get(claim.tenant, _Tenant())
        before = bisect_right(own.waiting, (claim.priority, claim.length, math.inf), key=lambda place: place.rank)
        start = own.all_starts(self._virtual)[before]
        others = (tenant for name, tenant in self._tenants.items() if name != claim.tenant)
        return before + sum(
            bisect_right(other.all_starts(self._virtual), start, hi=len(other.waiting)) for other in others
        )

    def giving_way(self, claim: Claim) -> T | None:
        """The item that is to make room for a newcomer: the last of the tenant with the most that wait, by weight.

        Where the newcomer's tenant would have as many it is the last of that one's own, if it is less urgent. None: it
        is the newcomer that gives way.
        """
        own: _Tenant[T] = self._tenants.get(claim.tenant, _Tenant())
        most = max(self._tenants.values(), key=lambda tenant: tenant.backlog, default=own)
        if most.backlog <= own.backlog + 1.0 / claim.weight:
            less_urgent = own.waiting and own.waiting[-1].claim.priority > claim.priority
            return own.waiting[-1].item if less_urgent else None
        return most.waiting[-1].item

    def tenant(self, item: T) -> str:
        """Whose an item that waits is."""
        return next(name for name, each in self._tenants.items() if any(place.item is item for place in each.waiting))

    def _next(self) -> _Tenant[T]:
        backlogged = [tenant for tenant in self._tenants.values() if tenant.waiting]
        if not backlogged:
            raise IndexError("nobody waits")
        return min(backlogged, key=lambda each: (each.starts(self._virtual), each.waiting[0].number))

    def _line(self, tenant: _Tenant[T]) -> Iterator[tuple[float, int, _Place[T]]]:
        starts = tenant.all_starts(self._virtual)
        return ((start, place.number, place) for start, place in zip(starts, tenant.waiting, strict=False))

    def _clean(self) -> None:
        """Forget whoever waits for nothing and owes nothing: it is as good as unknown."""
        self._tenants = {
            name: each
            for name, each in self._tenants.items()
            if each.waiting or each.unsettled or each.ends > self._virtual
        }
