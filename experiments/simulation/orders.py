"""What the order of requests is worth under a load: the front of mean and tail latency over the head start, simulated.

A slowdown is a request's latency over what its rows take alone on the machine, at the context that the profile tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from controller.serving.ordering.turns import ServingOrder
from experiments.request_record import RequestRecord
from experiments.table import Table, lines_of, texts
from models.profile.order import OrderPoint
from models.profile.profile import Profile

REPLIES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, math.inf)  # head starts, in full replies alone
MOST_P99 = 1.2  # of first come's 99th percentile, that the chosen head start may have at most
LEAST_GAIN = 0.02  # of first come's mean, that it must save: less is not worth another order


def tail_is_kept(point: OrderPoint, first_come: OrderPoint) -> bool:
    """Whether an order of the same requests is bounded, and its tail at most MOST_P99 times first come's."""
    return point.bounded and point.p99_s <= MOST_P99 * first_come.p99_s


def is_worth_it(point: OrderPoint, first_come: OrderPoint) -> bool:
    """Whether an order saves at least LEAST_GAIN of first come's mean latency."""
    return point.mean_s <= (1.0 - LEAST_GAIN) * first_come.mean_s


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFront:
    """Orders of the same requests, first come, first served before the others."""

    points: tuple[OrderPoint, ...]

    @property
    def first_come(self) -> OrderPoint:
        """The point that the others are measured by."""
        return self.points[0]

    @property
    def chosen(self) -> OrderPoint:
        """The bounded point with the least mean whose tail is at most MOST_P99; else first come."""
        first = self.first_come
        fit = [one for one in self.points if tail_is_kept(one, first) and is_worth_it(one, first)]
        return min(fit, key=lambda one: (one.mean_s, one.head_start_s), default=first)


def order_front(
    profile: Profile, play: Callable[[ServingOrder], Sequence[RequestRecord]], *, pauses: bool = False
) -> OrderFront:
    """Returns the front of the head starts of REPLIES; `play` serves the same requests in a given order.

    `pauses`: whether running thoughts pause, but under first come, where they never do.
    """
    points = []
    for replies in REPLIES:
        head_start_s = replies * profile.reply_s if replies else 0.0
        order = ServingOrder.of(profile, head_start_s=head_start_s, pauses=pauses)
        points.append(order_point(profile, play(order), order))
    return OrderFront(points=tuple(points))


def order_point(profile: Profile, records: Sequence[RequestRecord], order: ServingOrder) -> OrderPoint:
    """Returns how these requests were served."""
    latency = np.array([record.latency_s for record in records])
    row_s = 1.0 / profile.plant_model().rate(1)
    slowdown = latency / (row_s * np.array([max(1, record.rows) for record in records]))
    return OrderPoint(
        head_start_s=order.order.head_start_s,
        pauses=order.pauses,
        mean_s=float(latency.mean()),
        p99_s=float(np.percentile(latency, 99)),
        worst_s=float(latency.max()),
        worst_slowdown=float(slowdown.max()),
        overtaken_s=overtaken_s(records),
    )


def told(front: OrderFront) -> str:
    """Returns the front as a table, and which head start serves best by it, as text."""
    first, chosen = front.first_come, front.chosen
    table = Table(
        title="By the head start of short thoughts",
        header=("head start s", "latency s", "p99", "worst", "worst slowdown", "overtaken by s"),
        rows=tuple(
            (
                f"{one.head_start_s:g}" if math.isinf(one.head_start_s) else f"{one.head_start_s:.2f}",
                *(f"{value:.2f}" for value in (one.mean_s, one.p99_s, one.worst_s)),
                f"{one.worst_slowdown:.1f}",
                f"{one.overtaken_s:.2f}",
            )
            for one in front.points
        ),
    )
    if chosen == first:
        found = f"no head start saves {LEAST_GAIN:.0%} of it at a p99 of at most {MOST_P99:g} times that"
        lead = f"First come, first served: a reply takes {first.mean_s:.2f} s in the mean, and {found}."
    else:
        lead = (
            f"Serve it with --head-start-s {chosen.head_start_s:.2f}: a reply takes {chosen.mean_s:.2f} s in the mean "
            f"instead of {first.mean_s:.2f} s first come, first served, at a p99 of {chosen.p99_s / first.p99_s:.2f} "
            f"times that, and no request is overtaken by one that came more than {chosen.head_start_s:.2f} s later."
        )
    return "\n\n".join(["\n".join(lines_of([lead])), *texts([table])])


def overtaken_s(records: Sequence[RequestRecord]) -> float:
    """Returns how much later than a request another came, at most, that began before it, s; 0: none did.

    Of requests that began at the same time none began before another.
    """
    begun = sorted((record.at_s + record.queue_s, record.at_s) for record in records)
    latest = [0.0, *accumulate((at_s for _, at_s in begun), max)]
    worst, before = 0.0, 0
    for place, (began_s, at_s) in enumerate(begun):
        if place and began_s > begun[place - 1][0]:
            before = place
        worst = max(worst, latest[before] - at_s)
    return worst
