"""Capacity: the largest arrival rate for each loss of accuracy, and the rate from which requests must be shed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from controller.planning.memory import MemoryOptimizer, mean_cells
from controller.planning.room import Memory
from experiments.analysis.situation import Situation
from models.profile.tables import prune_hull

LOSSES = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearable:
    """The largest rate at which every class loses at most `loss` accuracy while no request is turned away."""

    loss: float  # of accuracy, against full thought
    floors: tuple[float, ...]  # accuracy, by class
    rate: float  # requests/s


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """How far a rate is from the shedding limit."""

    rate: float  # requests/s
    factor: float  # by which the rate may grow before requests must be turned away; below 1: it is past that limit
    loss: float | None  # smallest loss, common to all classes, that bears the rate; None: some are shed


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAtRate:
    """What a small KV cache leaves room for at one rate, by the joint program."""

    rate: float  # requests/s
    batch: int  # requests that there is room for at once, or that the engine decodes
    cells: float  # of a running request
    cells_without: float  # of a running request, where memory is not looked at
    token_price: float  # correct answers per token
    cell_price: float  # correct answers per cell and decode step, beyond a request's room; 0: memory does not bind
    sequence_price: float  # correct answers per request, for memory of one more request at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The plant's capacity in tokens/s, and the request rates that it bears for this mix."""

    tokens_per_s: float  # D_max: what a full batch decodes
    planned_tokens_per_s: float  # ρ_max·D_max
    full_thought_rate: float  # requests/s that ρ_max·D_max serves with full thought
    sheds_from: float  # requests/s, see `sheds_from`
    bearable: tuple[Bearable, ...]
    headroom: tuple[Headroom, ...]  # at the situation's rates


def capacity(one: Situation) -> Capacity:
    """Computes the capacity from the tables, without a simulation or a linear program."""
    full = one.tables.accuracy[:, 0]
    bearable = []
    for loss in LOSSES:
        floors = np.maximum(full - loss, 0.0)
        bearable.append(Bearable(loss=loss, floors=tuple(floors.tolist()), rate=largest_rate(one, floors.tolist())))
    limit = sheds_from(one)
    return Capacity(
        tokens_per_s=one.plant.capacity,
        planned_tokens_per_s=one.bound,
        full_thought_rate=one.bound / one.full_tokens,
        sheds_from=limit,
        bearable=tuple(bearable),
        headroom=tuple(
            Headroom(rate=rate, factor=limit / rate, loss=_least_loss(one, rate) if rate <= limit else None)
            for rate in one.rates
        ),
    )


def largest_rate(one: Situation, floors: Sequence[float]) -> float:
    """Returns the largest rate, requests/s, at which every class keeps its accuracy floor and no request is shed.

    For a floor above every point's accuracy, the most accurate point is used instead.
    """
    needed = []
    for d, floor in enumerate(floors):
        tokens, accuracy = one.hull(d)
        needed.append(float(np.interp(floor, accuracy, tokens)))
    return one.bound / float(one.mix @ np.array(needed))


def sheds_from(one: Situation) -> float:
    """Returns the rate, requests/s, from which shedding some requests beats serving all with less accuracy.

    Shedding is one more point of each class's hull, with the accuracy −shed_penalty. The lowest token price at which
    shedding pays is the smallest slope, over the classes, from this point to the next hull point.
    """
    tables, penalty = one.tables, one.objective.shed_penalty
    present = np.flatnonzero(one.mix > 0.0)
    hulls = [
        prune_hull([tables.shed_tokens, *tables.tokens[d]], [-penalty, *tables.accuracy[d]])
        for d in range(len(one.mix))
    ]
    tokens = [np.array([tables.shed_tokens, *tables.tokens[d]])[hull] for d, hull in enumerate(hulls)]
    worth = [np.array([-penalty, *tables.accuracy[d]])[hull] for d, hull in enumerate(hulls)]
    price = min(float((worth[d][1] - worth[d][0]) / (tokens[d][1] - tokens[d][0])) for d in present)
    chosen = 0.0  # tokens of a mean request at that price while no request is shed
    for d in present:
        gain = np.diff(worth[d]) / np.diff(tokens[d])
        chosen += float(one.mix[d] * tokens[d][max(1, int(np.searchsorted(-gain, -price, side="left")))])
    return _demand_of(one, price) / chosen


def _demand_of(one: Situation, price: float) -> float:
    """Returns the largest demand, tokens/s, within the bound with w·dN/dD ≤ `price`, correct answers per token."""
    weight, low, high = one.objective.latency_weight, 0.0, one.bound
    if weight * one.plant.slope(high) <= price:
        return high
    while high - low > 1e-9 * one.bound:
        middle = (low + high) / 2.0
        low, high = (middle, high) if weight * one.plant.slope(middle) <= price else (low, middle)
    return low


def _least_loss(one: Situation, rate: float) -> float:
    full, low, high = one.tables.accuracy[:, 0], 0.0, 1.0
    if largest_rate(one, full.tolist()) >= rate:
        return 0.0
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        enough = largest_rate(one, (full - middle).tolist()) >= rate
        low, high = (low, middle) if enough else (middle, high)
    return high


def memory(one: Situation, clock: Callable[[], float]) -> tuple[MemoryAtRate, ...]:
    """Returns what the situation's cells leave room for at its rates; empty: memory is not looked at.

    Raises SolverError if a program cannot be solved.
    """
    if one.cells is None or one.tables.square is None:
        return ()
    program, found = MemoryOptimizer(one.tables, one.objective, clock=clock), []
    for rate in one.rates:
        load = one.load(rate)
        free = program.solve(load, one.plant)
        decided = program.solve(load, one.plant, memory=Memory(cells=one.cells))
        found.append(
            MemoryAtRate(
                rate=rate,
                batch=decided.batch or one.plant.max_batch,
                cells=mean_cells(one.tables, load, decided),
                cells_without=mean_cells(one.tables, load, free),
                token_price=decided.prices.token,
                cell_price=decided.prices.cell,
                sequence_price=decided.prices.sequence,
            )
        )
    return tuple(found)
