"""A decision on thresholds, budgets and admission, whoever takes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.profile.tables import OperatingTables, prune_hull

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prices:
    """What the constraints cost at the optimum."""

    token: float  # correct answers per decoded token: each class maximises Q − token·κ·W
    latency: float  # the part of it for waiting, w·dN/dD
    capacity: float  # the part of it for the bound on demand
    floor: Array  # by class: correct answers per request of the mix, for one unit of its accuracy floor
    threshold: Array  # by class: the same for one unit of threshold, where the rate limit binds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slack:
    """By how much the solution misses what can't be had; all 0 in quiet times."""

    capacity: float  # demand above ρ_max, in capacities
    floor: Array  # by class, accuracy
    threshold: Array  # by class, confidence moved too fast


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decision:
    """What is advised, by class in the profile's order, and what is expected of it."""

    threshold: Array  # of the mixture that is served, mean
    budget: Array  # thinking tokens, likewise
    shed: Array  # share of requests to turn away
    mixture: Array  # [class, point]: shares of the profile's points; with `shed` they sum to 1
    accuracy: Array  # of those served
    value: float  # of the objective, correct answers per request
    demand: float  # D, tokens/s
    load: float  # ρ, of the plant's capacity
    in_system: float  # N, requests; where demand exceeds capacity, what tangents of it say
    prices: Prices
    slack: Slack
    solver: str
    status: str
    solve_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixtureMeans:
    """What becomes of the requests that are not turned away, by class: means over the mixture."""

    threshold: Array
    budget: Array  # thinking tokens
    accuracy: Array


def served(tables: OperatingTables, mixture: Array) -> MixtureMeans:
    """Means over a mixture [class, point]; a class of which nothing is served gets its cheapest point."""
    share = mixture.sum(axis=1, keepdims=True)
    cheapest = [prune_hull(tables.tokens[d], tables.accuracy[d])[0] for d in range(len(tables.classes))]
    of_served = np.where(share > 0.0, mixture / np.where(share > 0.0, share, 1.0), np.eye(mixture.shape[1])[cheapest])
    return MixtureMeans(
        threshold=of_served @ np.array([point.threshold for point in tables.points]),
        budget=of_served @ np.array([point.budget for point in tables.points]),
        accuracy=(of_served * tables.accuracy).sum(axis=1),
    )
