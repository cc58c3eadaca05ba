"""The optimiser's decisions as the rate grows, and their shadow prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from controller.planning.decision import Decision
from controller.planning.joint_program import Optimizer
from experiments.analysis.situation import Situation

RATES = 28
FLOOR_LOSS = 0.02  # where no floors are wanted, their prices are told for floors so much below the full thought
SURGE_S = 5.0  # the rate limit is priced for a load that came so many seconds ago, out of calm


@dataclass(frozen=True, slots=True, kw_only=True)
class RateStep:
    """What is decided at a rate, and what one unit of each constraint would be worth. Lists are by class."""

    rate: float  # requests/s
    load: float  # of the plant's capacity
    accuracy: float  # of those served
    shed: float  # share of requests
    latency_s: float | None  # mean, of those served; None: no steady state
    threshold: tuple[float, ...]
    budget: tuple[float, ...]
    token_price: float  # correct answers per token
    latency_price: float  # the part of it for waiting
    capacity_price: float  # the part of it for the bound on demand
    floor_price: tuple[float, ...]  # correct answers per request, for one unit of accuracy
    surge_price: tuple[float, ...]  # the same for one unit by which thresholds might fall faster, right after a surge


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSweep:
    """Decisions over rates."""

    steps: tuple[RateStep, ...]  # of a grid of rates
    looked_at: tuple[RateStep, ...]  # of the rates that are looked at closely
    floors: tuple[float, ...]  # that floor prices are told for, by class
    floors_wanted: bool  # whether the objective has them


def grid(one: Situation, highest: float) -> list[float]:
    """Evenly spaced rates beyond which nothing new happens."""
    top = max(1.25 * highest, 1.05 * max(one.rates))
    return [top * (n + 1) / RATES for n in range(RATES)]


def sweep(one: Situation, rates: Sequence[float], clock: Callable[[], float], advance: Callable[[], None]) -> RateSweep:
    """Decide at each rate. Raises SolverError."""
    wanted = one.objective.accuracy_floors
    floors = wanted or tuple(max(0.0, float(full) - FLOOR_LOSS) for full in one.tables.accuracy[:, 0])
    free = Optimizer(one.tables, one.objective, clock=clock)
    floored = Optimizer(one.tables, replace(one.objective, accuracy_floors=floors), clock=clock)
    calm = free.solve(one.load(rates[0]), one.plant)

    def step(rate: float) -> RateStep:
        load = one.load(rate)
        now = free.solve(load, one.plant)
        bound = floored.solve(load, one.plant)
        surge = free.solve(load, one.plant, previous=calm, elapsed_s=SURGE_S)
        advance()
        return _step(one, rate, now, bound, surge)

    return RateSweep(
        steps=tuple(map(step, rates)),
        looked_at=tuple(map(step, one.rates)),
        floors=floors,
        floors_wanted=bool(wanted),
    )


def _step(one: Situation, rate: float, now: Decision, bound: Decision, surge: Decision) -> RateStep:
    shares = one.mix * (1.0 - now.shed)
    served = float(shares.sum())
    steady = served > 0.0 and now.demand < one.plant.capacity
    return RateStep(
        rate=rate,
        load=now.load,
        accuracy=float(shares @ now.accuracy) / served if served > 0.0 else 0.0,
        shed=float(one.mix @ now.shed),
        latency_s=now.in_system / (rate * served) if steady else None,
        threshold=tuple(now.threshold.tolist()),
        budget=tuple(now.budget.tolist()),
        token_price=float(now.prices.token),
        latency_price=float(now.prices.latency),
        capacity_price=float(now.prices.capacity),
        floor_price=tuple(bound.prices.floor.tolist()),
        surge_price=tuple(np.maximum(surge.prices.threshold, 0.0).tolist()),
    )
