"""Orders of requests made by hand."""

from __future__ import annotations

from models.profile.contest import LOAD_AWARE
from models.profile.order import LoadOrders, OrderChoice, OrderPoint


def point(head_start_s: float, mean_s: float, p99_s: float, *, overtaken_s: float = 0.0) -> OrderPoint:
    """An order's figures; nobody is overtaken unless it is said."""
    return OrderPoint(
        head_start_s=head_start_s,
        pauses=False,
        mean_s=mean_s,
        p99_s=p99_s,
        worst_s=1.5 * p99_s,
        worst_slowdown=4.0,
        overtaken_s=overtaken_s,
    )


def load(share: float, *points: tuple[float, float, float]) -> LoadOrders:
    """A load by head start, mean and 99th percentile of each order."""
    return LoadOrders(load=share, rate=10.0 * share, waited_s=0.5, points=tuple(point(*each) for each in points))


def choice(head_start_s: float, *loads: LoadOrders) -> OrderChoice:
    """The choice of a head start at these loads."""
    return OrderChoice(head_start_s=head_start_s, policy=LOAD_AWARE, seed=0, requests=1000, most_p99=1.2, loads=loads)
