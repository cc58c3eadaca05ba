"""A decision on thresholds, budgets and admission, from the joint program or the price bisection."""

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
    latency: float  # the part of `token` for waiting, w·dN/dD
    capacity: float  # the part of `token` for the bound on demand
    floor: Array  # by class: correct answers per request of the mix, for one unit of the class's accuracy floor
    threshold: Array  # by class: the same for one unit of the mean threshold, where its rate limit binds
    # correct answers per unit of risk: what the account's allowance costs beyond the worth of risk that is kept
    risk: float = 0.0
    # correct answers per cell of KV cache and decode step, beyond what a sequence has room for on average: each class
    # maximises Q − token·κ·W − cell·(C − room·κ·W); 0: memory does not bind
    cell: float = 0.0
    # correct answers per request that memory for one sequence more would bring, as the batch is whole sequences; 0:
    # memory does not bind
    sequence: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slack:
    """By how much the solution violates each soft constraint; all 0 at low load."""

    capacity: float  # demand above ρ_max, as a share of the capacity
    floor: Array  # by class, accuracy below the floor, or below the class's best where the floor is out of reach
    threshold: Array  # by class, confidence moved beyond the rate limit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decision:
    """The advised mixture, by class in the profile's order, and its expected results."""

    threshold: Array  # mean over the served mixture, of the tables' numbers
    budget: Array  # mean over the served mixture, thinking tokens, likewise
    shed: Array  # share of requests to turn away
    mixture: Array  # [class, point]: shares of the profile's points; with `shed` they sum to 1
    accuracy: Array  # of the served requests
    value: float  # of the objective, correct answers per request
    demand: float  # D, tokens/s
    load: float  # ρ, of the plant's capacity
    in_system: float  # N, requests; where demand is too high for the chain, extrapolated by tangents of N(D)
    prices: Prices
    slack: Slack
    solver: str
    status: str
    solve_s: float
    charge: float = 0.0  # mean charge of a request to the account of risk; 0: there is no account
    batch: int | None = None  # sequences that are planned to be decoded at once, as memory binds; None: it does not
    cells: float | None = None  # KV cells that a running sequence holds on average, as planned; None: not planned


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPrice:
    """What KV cells cost."""

    price: float  # correct answers per cell and decode step
    room: float  # cells that a sequence has on average, for which nothing is paid

    def of(self, tables: OperatingTables, work_ratio: Array) -> Array:
        """Returns what the cells of each point cost a request, [class, point]; below 0 where it leaves room."""
        steps = work_ratio[:, None] * tables.tokens
        return np.asarray(self.price * (tables.cell_steps(work_ratio) - self.room * steps))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixtureMeans:
    """Means over the mixture of the served requests (those not turned away), by class."""

    threshold: Array
    budget: Array  # thinking tokens
    accuracy: Array


def served(tables: OperatingTables, mixture: Array) -> MixtureMeans:
    """Returns the means over a mixture [class, point]; a class that is shed completely gets its cheapest point's."""
    share = mixture.sum(axis=1, keepdims=True)
    cheapest = [prune_hull(tables.tokens[d], tables.accuracy[d])[0] for d in range(len(tables.classes))]
    of_served = np.where(share > 0.0, mixture / np.where(share > 0.0, share, 1.0), np.eye(mixture.shape[1])[cheapest])
    return MixtureMeans(
        threshold=of_served @ tables.thresholds,
        budget=of_served @ tables.budgets,
        accuracy=(of_served * tables.accuracy).sum(axis=1),
    )
