"""The optimiser's decisions over growing arrival rates, with their shadow prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from controller.planning.decision import Decision
from controller.planning.joint_program import Optimizer
from experiments.analysis.situation import Situation

RATES = 28
FLOOR_LOSS = 0.02  # without floors in the objective, floor prices are computed for floors this far below full thought
SURGE_S = 5.0  # the threshold rate limit is priced this many seconds after a jump from the lowest rate


@dataclass(frozen=True, slots=True, kw_only=True)
class RateStep:
    """The decision at one rate, and the price of one unit of each constraint. Lists are by class."""

    rate: float  # requests/s
    load: float  # of the plant's capacity
    accuracy: float  # of the requests served
    shed: float  # share of requests turned away
    latency_s: float | None  # mean of the requests served; None: no steady state, or all are shed
    threshold: tuple[float, ...]
    budget: tuple[float, ...]
    token_price: float  # correct answers per token
    latency_price: float  # the part of token_price for waiting
    capacity_price: float  # the part of token_price for the bound on demand
    floor_price: tuple[float, ...]  # correct answers per request, for one unit of the accuracy floor
    surge_price: tuple[float, ...]  # correct answers per request, for one more unit of threshold movement after a surge


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSweep:
    """The decisions over all rates."""

    steps: tuple[RateStep, ...]  # at the rates of a grid
    looked_at: tuple[RateStep, ...]  # at the situation's rates
    floors: tuple[float, ...]  # by class, of the floor prices
    floors_wanted: bool  # whether the floors are the objective's own


def grid(one: Situation, highest: float) -> list[float]:
    """Returns evenly spaced rates, up to 1.25 · `highest` or just past the situation's highest rate."""
    top = max(1.25 * highest, 1.05 * max(one.rates))
    return [top * (n + 1) / RATES for n in range(RATES)]


def sweep(one: Situation, rates: Sequence[float], clock: Callable[[], float], advance: Callable[[], None]) -> RateSweep:
    """Solves at each rate of the grid and of the situation. Raises SolverError if no solver finds a decision."""
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
