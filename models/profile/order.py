"""The order of requests that a profile keeps: the head start of short thoughts, chosen by simulation on its records.

A head start of H seconds lets a request whose thought is predicted short overtake longer ones that came up to H before
it (`controller.serving.ordering.order`). So no request is overtaken by one that came more than H after it, at any load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.files.checks import not_negative


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPoint:
    """How requests were served in one order."""

    head_start_s: float  # within which a shorter request may overtake; 0: first come, first served; infinite: none such
    pauses: bool  # whether running thoughts paused
    mean_s: float  # latency, from arrival to end
    p99_s: float  # 99th percentile of it
    worst_s: float  # largest of it
    worst_slowdown: float  # largest latency over the time alone
    overtaken_s: float  # how much later than a request one came, at most, that began before it

    @property
    def bounded(self) -> bool:
        """Whether the order bounds who may overtake, and all kept within the bound."""
        return math.isfinite(self.head_start_s) and self.overtaken_s <= self.head_start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrders:
    """The same requests at the same times in several orders."""

    load: float  # share of what the engine can serve with full thoughts
    rate: float  # requests/s
    waited_s: float  # mean wait in the queue, first come, first served
    points: tuple[OrderPoint, ...]  # first come, first served before the others; alone where hardly anybody waited

    def __post_init__(self) -> None:
        if not self.points or self.points[0].head_start_s:
            raise ValueError("points must begin with that of first come, first served, of head_start_s 0")

    @property
    def first_come(self) -> OrderPoint:
        """The point that the others are measured by."""
        return self.points[0]

    def at(self, head_start_s: float) -> OrderPoint:
        """Returns the point of a head start; where it was not played, nobody waited, and it does as first come."""
        return next((one for one in self.points if one.head_start_s == head_start_s), self.first_come)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChoice:
    """The head start that serves, and what it was chosen by."""

    head_start_s: float  # chosen; 0: first come, first served
    policy: str  # that served in simulation: a name of the contest's
    seed: int  # of arrivals and questions
    requests: int  # at each load
    most_p99: float  # of first come's 99th percentile, that the chosen head start has at most, at every load
    loads: tuple[LoadOrders, ...]  # the simulation at each load

    def __post_init__(self) -> None:
        not_negative(self, "head_start_s")

    @property
    def reason(self) -> str:
        """Why this head start was chosen, in words."""
        if not self.head_start_s:
            return "simulated on the profile's records, no head start of short thoughts pays"
        best = min(self.loads, key=lambda one: one.at(self.head_start_s).mean_s / one.first_come.mean_s)
        chosen, first = best.at(self.head_start_s), best.first_come
        return (
            f"simulated at {best.load:.0%} of capacity, a reply takes {chosen.mean_s:.2f} s in the mean instead of "
            f"{first.mean_s:.2f} s first come, first served, at {chosen.p99_s / first.p99_s:.2f} times its 99th "
            "percentile"
        )
