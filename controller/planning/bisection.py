"""Price bisection: a decision from the tables alone, for when there is no plan from a solver.

At a token price p each class takes the point with the highest Q − p·κ·W; shedding counts as a point. The price sought
is the least p that covers what a token costs the others, w·N'(D), and keeps demand D within its bound. D falls as p
grows, and N' with D, so bisection finds p. Floors, rate limits and the order of budgets are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controller.load import Load
from controller.planning.decision import Decision, Prices, Slack, served
from controller.planning.objective import Objective
from models.profile.plant import Plant
from models.profile.tables import OperatingTables

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Choice:
    mixture: Array  # [class, shed and points]
    demand: float  # tokens/s


def decide(tables: OperatingTables, objective: Objective, load: Load, plant: Plant) -> Decision:
    """Returns the decision at the least token price that covers the cost of waiting and keeps demand within max_load.

    Raises ValueError if the load does not have the tables' number of classes.
    """
    if len(load.mix) != len(tables.classes):
        raise ValueError(f"mix has {len(load.mix)} classes, the profile {len(tables.classes)}: must be as many")
    rates = np.maximum(load.rates, objective.min_rate)
    column = np.ones((len(tables.classes), 1))
    tokens = load.work_ratio[:, None] * np.hstack([tables.shed_tokens * column, tables.tokens])
    accuracy = np.hstack([-objective.shed_penalty * column, tables.accuracy])
    bound = objective.max_load * plant.capacity

    def chosen(price: float) -> _Choice:
        worth = accuracy - price * tokens
        mixture = np.eye(worth.shape[1])[worth.argmax(axis=1)]
        return _Choice(mixture=mixture, demand=float(rates @ (tokens * mixture).sum(axis=1)))

    def too_much(demand: float, price: float) -> bool:
        return demand > bound or objective.latency_weight * plant.slope(demand) > price

    low, high = 0.0, 1.0
    while too_much(chosen(high).demand, high) and high < 1e6:  # beyond that price everything is shed
        low, high = high, 2.0 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2.0
        low, high = (middle, high) if too_much(chosen(middle).demand, middle) else (low, middle)
    dear, cheap = chosen(low), chosen(high)  # two choices, equally good at the price sought
    share_low, share_high = 0.0, 1.0  # share of `dear` in the mixture
    for _ in range(40):
        share = (share_low + share_high) / 2.0
        mixed = share * dear.demand + (1.0 - share) * cheap.demand
        share_low, share_high = (share_low, share) if too_much(mixed, high) else (share, share_high)
    mixture = share_low * dear.mixture + (1.0 - share_low) * cheap.mixture

    demand = float(load.rates @ (tokens * mixture).sum(axis=1))
    planned = share_low * dear.demand + (1.0 - share_low) * cheap.demand
    over = max(0.0, planned / plant.capacity - objective.max_load)
    waiting = objective.latency_weight * plant.slope(min(planned, bound))
    means, none = served(tables, mixture[:, 1:]), np.zeros(len(tables.classes))

    def in_system(demand: float) -> float:  # beyond the bound, N's tangent there
        return plant.in_system(min(demand, bound)) + plant.slope(bound) * max(0.0, demand - bound)

    value = float(rates @ (accuracy * mixture).sum(axis=1)) - objective.latency_weight * in_system(planned)
    return Decision(
        threshold=means.threshold,
        budget=means.budget,
        shed=mixture[:, 0],
        mixture=mixture[:, 1:],
        accuracy=means.accuracy,
        value=value / float(rates.sum()) - objective.capacity_penalty * over,
        demand=demand,
        load=demand / plant.capacity,
        in_system=in_system(demand),
        prices=Prices(
            token=high, latency=min(waiting, high), capacity=max(high - waiting, 0.0), floor=none, threshold=none
        ),
        slack=Slack(capacity=over, floor=none, threshold=none),
        solver="price bisection",
        status="optimal",
        solve_s=0.0,
    )
