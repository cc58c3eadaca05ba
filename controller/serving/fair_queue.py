"""A queue that is fair between tenants, by weight, and keeps each tenant's own priorities.

Start-time fair queuing (Goyal, Vin and Cheng, 1996), pure: a tenant's next request starts at S = max(F, v), where F is
the virtual time at which the tenant's last request ends and v the present virtual time; the smallest S is served, v
becomes S, and F becomes S + cost/weight. So over any busy period tenants get tokens in proportion to their weights,
however long their queues are, and none is starved. A request's true cost is known when it has ended: F is corrected
then. Priorities order only a tenant's own requests, so no tenant gains on others by declaring all requests urgent.

An item that was taken out may be deferred: its tenant is not charged for what is left of it until it goes on, and then
is again, at a turn of its own. What v has passed of a charge has been waited for, and is not given back, else S would
lie at v all the same and it would be charged twice. So a tenant that has its items wait for one another neither gains
nor loses by it.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Generic, TypeVar

from models.files.checks import positive

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request's tenant, its rank among the tenant's requests, and its expected cost."""

    tenant: str = ""
    weight: float = 1.0  # the tenant's share relative to other tenants
    priority: int = 0  # among the tenant's own requests: lower is earlier
    length: float = 0.0  # of its thought, predicted by its prompt, tokens; 0: unknown
    place: float = 0.0  # among the tenant's requests of one priority: the smallest is first, see `ordering.order`
    cost: float = 1.0  # expected tokens, charged when the request's turn comes

    def __post_init__(self) -> None:
        positive(self, "weight", "cost")


@dataclass(frozen=True, slots=True)
class _Place(Generic[T]):
    claim: Claim
    number: int  # of arrival
    item: T

    @property
    def rank(self) -> tuple[int, float, int]:
        return self.claim.priority, self.claim.place, self.number


@dataclass(slots=True)
class _Tenant(Generic[T]):
    ends: float = 0.0  # F
    unsettled: int = 0  # requests taken out whose true cost is not known yet
    waiting: list[_Place[T]] = field(default_factory=list)  # by rank

    def starts(self, virtual: float) -> float:
        return max(self.ends, virtual)

    def all_starts(self, virtual: float) -> list[float]:
        """Returns S of each waiting request and of one more behind them; v never overtakes a waiting tenant's S."""
        costs = (place.claim.cost / place.claim.weight for place in self.waiting)
        return list(accumulate(costs, initial=self.starts(virtual)))

    @property
    def backlog(self) -> float:
        """The number of waiting requests, each divided by its weight."""
        return math.fsum(1.0 / place.claim.weight for place in self.waiting)


class FairQueue(Generic[T]):
    """Items of many tenants; `pop` returns the next item."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant[T]] = {}
        self._virtual = 0.0  # v
        self._numbers = count()

    def __len__(self) -> int:
        return sum(len(tenant.waiting) for tenant in self._tenants.values())

    def push(self, item: T, claim: Claim) -> None:
        """Adds an item behind its tenant's items of the same priority and place."""
        tenant = self._tenants.setdefault(claim.tenant, _Tenant())
        insort(tenant.waiting, _Place(claim, next(self._numbers), item), key=lambda place: place.rank)

    def head(self) -> T:
        """Returns the next item. Raises IndexError if none waits."""
        return self._next().waiting[0].item

    def pop(self) -> T:
        """Takes out the next item and charges its tenant; `settle` must follow. Raises IndexError if none waits."""
        tenant = self._next()
        place = tenant.waiting.pop(0)
        self._virtual = tenant.starts(self._virtual)
        tenant.ends = self._virtual + place.claim.cost / place.claim.weight
        tenant.unsettled += 1
        self._clean()
        return place.item

    def defer(self, claim: Claim, left: float) -> float:
        """Refunds what was charged for `left`, the rest of an item that was taken out and does not go on yet.

        Returns what was refunded, at most `left`: F falls no lower than v.
        """
        tenant = self._tenants[claim.tenant]
        refunded = min(left / claim.weight, max(0.0, tenant.ends - self._virtual))
        tenant.ends -= refunded
        return refunded * claim.weight

    def go_on(self, claim: Claim, refunded: float) -> None:
        """Charges what was `refunded` for a deferred item, which goes on: at its turn, or before it.

        At its turn v becomes its S, as with `pop`; v never overtakes a waiting tenant's S.
        """
        tenant = self._tenants[claim.tenant]
        start = tenant.starts(self._virtual)
        if all(start <= other.starts(self._virtual) for other in self._tenants.values() if other.waiting):
            self._virtual = start
        tenant.ends = start + refunded / claim.weight

    def start(self, claim: Claim) -> float:
        """Returns the virtual time at which the tenant's next item starts: S of its first waiting or deferred one."""
        return self._tenants.get(claim.tenant, _Tenant[T]()).starts(self._virtual)

    def settle(self, claim: Claim, cost: float) -> None:
        """Charges or refunds the tenant the difference between `cost`, an ended item's true cost, and its claim's."""
        tenant = self._tenants[claim.tenant]
        tenant.unsettled -= 1
        tenant.ends += (cost - claim.cost) / claim.weight
        self._clean()

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Takes out and returns all `unwanted` items; no tenant is charged for them."""
        out: list[T] = []
        for tenant in self._tenants.values():
            out += [place.item for place in tenant.waiting if unwanted(place.item)]
            tenant.waiting = [place for place in tenant.waiting if not unwanted(place.item)]
        return out

    def order(self) -> list[T]:
        """Returns all items in the order in which `pop` would take them out if no other item came."""
        return [item for item, _ in self.line()]

    def line(self) -> list[tuple[T, Claim]]:
        """Returns the items as `order` does, and the claim of each."""
        lines = (self._line(tenant) for tenant in self._tenants.values())
        return [(place.item, place.claim) for _, _, place in heapq.merge(*lines, key=lambda line: line[:2])]

    def ahead(self, claim: Claim) -> int:
        """Returns the number of items that `pop` would take out before a new one, if no other item came."""
        own: _Tenant[T] = self._tenants.get(claim.tenant, _Tenant())
        before = bisect_right(own.waiting, (claim.priority, claim.place, math.inf), key=lambda place: place.rank)
        start = own.all_starts(self._virtual)[before]
        others = (tenant for name, tenant in self._tenants.items() if name != claim.tenant)
        return before + sum(
            bisect_right(other.all_starts(self._virtual), start, hi=len(other.waiting)) for other in others
        )

    def giving_way(self, claim: Claim) -> T | None:
        """Returns the item that gives way to a new one: the last item of the tenant with the largest backlog.

        If the new item would give its own tenant the largest backlog or an equal one, that tenant's last item gives
        way, provided that its priority is lower than the new item's. None: the new item gives way.
        """
        own: _Tenant[T] = self._tenants.get(claim.tenant, _Tenant())
        most = max(self._tenants.values(), key=lambda tenant: tenant.backlog, default=own)
        if most.backlog <= own.backlog + 1.0 / claim.weight:
            less_urgent = own.waiting and own.waiting[-1].claim.priority > claim.priority
            return own.waiting[-1].item if less_urgent else None
        return most.waiting[-1].item

    def tenant(self, item: T) -> str:
        """Returns the tenant of a waiting item."""
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
        """Forgets tenants with no waiting or unsettled items and F ≤ v, which are treated like unknown ones."""
        self._tenants = {
            name: each
            for name, each in self._tenants.items()
            if each.waiting or each.unsettled or each.ends > self._virtual
        }
