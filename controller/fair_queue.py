"""A queue that is fair between tenants, by weight, and keeps each tenant's own priorities.

Start-time fair queuing (Goyal, Vin and Cheng, 1996), pure: a tenant's next request starts at S = max(F, v), where F is
the virtual time at which its last one ends and v the present one; the smallest S is served, v becomes S, and F becomes
S + cost/weight. So over any busy stretch tenants get tokens in proportion to their weights, however long their queues
are, and none is starved. Priorities order a tenant's own requests only: nobody gains on others by calling all urgent.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
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
    waiting: list[_Place[T]] = field(default_factory=list)  # by rank

    def starts(self, virtual: float) -> float:
        return max(self.ends, virtual)


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

    def pop(self) -> T:
        """Take out the item whose turn it is. Raises IndexError where none waits."""
        backlogged = [tenant for tenant in self._tenants.values() if tenant.waiting]
        if not backlogged:
            raise IndexError("nobody waits")
        tenant = min(backlogged, key=lambda each: (each.starts(self._virtual), each.waiting[0].number))
        place = tenant.waiting.pop(0)
        self._virtual = tenant.starts(self._virtual)
        tenant.ends = self._virtual + place.claim.cost / place.claim.weight
        # whoever waits for nothing and owes nothing is as good as unknown
        self._tenants = {
            name: each for name, each in self._tenants.items() if each.waiting or each.ends > self._virtual
        }
        return place.item

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out all items of this kind; nobody is charged for them."""
        out: list[T] = []
        for tenant in self._tenants.values():
            out += [place.item for place in tenant.waiting if unwanted(place.item)]
            tenant.waiting = [place for place in tenant.waiting if not unwanted(place.item)]
        return out

    def order(self) -> list[T]:
        """All items in the order in which they would be taken out if nothing came between."""
        ahead: FairQueue[T] = FairQueue()
        ahead._virtual = self._virtual
        ahead._tenants = {name: _Tenant(each.ends, list(each.waiting)) for name, each in self._tenants.items()}
        return [ahead.pop() for _ in range(len(self))]
