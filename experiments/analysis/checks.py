"""Checks of the models behind the decisions, each against an exact or nearly exact reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from controller.planning.bisection import decide
from controller.planning.decision import Decision
from controller.planning.joint_program import Optimizer
from experiments.analysis.situation import Situation
from experiments.analysis.token_simulation import simulate
from models.profile.plant import mean_context

Array = npt.NDArray[np.float64]

LOADS = (0.2, 0.4, 0.6, 0.75, 0.85, 0.92)
REQUESTS = 20_000  # simulated at each load
RATES = 8  # rates at which the solvers are compared
GRID = 400  # loads at which the tangents are compared with N(D)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """N(D) at one load, by the plant model and by a simulation that counts every token."""

    load: float
    told: float  # requests, by the plant model
    simulated: float  # requests

    @property
    def error(self) -> float:
        """The plant model's error relative to the simulation."""
        return self.told / self.simulated - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tangents:
    """The errors of the optimiser's tangents against N(D)."""

    loads: tuple[float, ...]
    errors: tuple[float, ...]  # relative to N(D), at most 0

    @property
    def worst(self) -> float:
        """The largest shortfall, relative to N(D)."""
        return -min(self.errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Three solvers at one rate: each one's objective value on the exact plant, correct answers per request."""

    rate: float  # requests/s
    linear_program: float
    price_bisection: float
    brute_force: float | None  # best of all unmixed settings; None: no setting keeps demand within the bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """The results of all checks."""

    simulated: tuple[Simulated, ...]
    tangents: Tangents
    gaps: tuple[Gap, ...]


def checks(one: Situation, highest: float, clock: Callable[[], float], advance: Callable[[], None]) -> Checks:
    """Runs all checks, the gaps at rates up to `highest`. Raises SolverError if a program cannot be solved."""
    simulated = []
    for seed, load in enumerate(LOADS):
        simulated.append(against_simulation(one, load, requests=REQUESTS, seed=seed))
        advance()
    rates = [highest * (n + 1) / RATES for n in range(RATES)]
    return Checks(simulated=tuple(simulated), tangents=tangents(one), gaps=gaps(one, rates, clock, advance))


def against_simulation(one: Situation, load: float, *, requests: int, seed: int) -> Simulated:
    """Compares N(D) with a simulation: Poisson arrivals, lognormal lengths with full thoughts' mean and spread."""
    rng = np.random.default_rng(seed)
    sigma = math.sqrt(math.log1p(one.plant.cv2))
    drawn = rng.lognormal(math.log(one.full_tokens) - sigma**2 / 2.0, sigma, requests)
    tokens = np.maximum(1, np.round(drawn)).astype(np.int64)
    mean = float(tokens.mean())
    prompt = max(0, round(one.plant.context - float(np.square(tokens).mean()) / (2.0 * mean)))
    context = mean_context(np.full(requests, prompt), tokens)
    plant = replace(one.plant, context=context, cv2=float(tokens.var()) / mean**2)
    demand = load * plant.capacity
    gaps_s = rng.exponential(1.0, requests)
    found = simulate(
        step_time=plant.step_time,
        max_batch=plant.max_batch,
        arrivals=np.cumsum(gaps_s / gaps_s.mean()) * mean / demand,
        tokens=tokens,
        prompt=prompt,
    )
    return Simulated(load=load, told=plant.in_system(demand), simulated=found.in_system)


def tangents(one: Situation) -> Tangents:
    """Compares the optimiser's tangents with N(D), over the loads up to the objective's max_load."""
    lines = one.plant.lines(count=one.objective.tangents, max_load=max(one.objective.max_load, 0.9))
    loads = one.objective.max_load * np.arange(1, GRID + 1) / GRID
    told = [(lines.highest(d), one.plant.in_system(d)) for d in loads * one.plant.capacity]
    return Tangents(loads=tuple(loads.tolist()), errors=tuple(min(0.0, low / true - 1.0) for low, true in told))


def gaps(
    one: Situation, rates: Sequence[float], clock: Callable[[], float], advance: Callable[[], None]
) -> tuple[Gap, ...]:
    """Compares the solvers at each rate, without floors and the order of budgets: price bisection ignores both."""
    objective = replace(one.objective, order_penalty=0.0, accuracy_floors=())
    program = Optimizer(one.tables, objective, clock=clock)
    found = []
    for rate in rates:
        load = one.load(rate)
        found.append(
            Gap(
                rate=rate,
                linear_program=worth(one, rate, program.solve(load, one.plant)),
                price_bisection=worth(one, rate, decide(one.tables, objective, load, one.plant)),
                brute_force=brute_force(one, rate),
            )
        )
        advance()
    return tuple(found)


def worth(one: Situation, rate: float, decision: Decision) -> float:
    """Returns a decision's objective value on the exact plant, correct answers per request.

    The decision's demand must be below the plant's capacity.
    """
    answers = (decision.mixture * one.tables.accuracy).sum(axis=1) - one.objective.shed_penalty * decision.shed
    tokens = (decision.mixture * one.tables.tokens).sum(axis=1) + one.tables.shed_tokens * decision.shed
    waiting = one.plant.in_system(rate * float(one.mix @ tokens)) / rate
    return float(one.mix @ answers) - one.objective.latency_weight * waiting


def brute_force(one: Situation, rate: float) -> float | None:
    """Returns the value of the best unmixed setting by class that keeps demand within its bound.

    A setting gives each class one point or sheds the whole class. None: no setting is within the bound.
    """
    tokens, answers = np.zeros(1), np.zeros(1)  # of a mean request, for every setting of the classes so far
    for d, share in enumerate(one.mix):
        cost = np.array([one.tables.shed_tokens, *one.tables.tokens[d]])
        gain = np.array([-one.objective.shed_penalty, *one.tables.accuracy[d]])
        order = np.lexsort((-gain, cost))
        order = order[np.diff(np.maximum.accumulate(gain[order]), prepend=-math.inf) > 0.0]  # without dominated points
        tokens = np.add.outer(tokens, share * cost[order]).ravel()
        answers = np.add.outer(answers, share * gain[order]).ravel()
    demand = rate * tokens
    within = demand <= one.bound * (1.0 + 1e-9)
    if not within.any():
        return None
    grid = one.bound * np.linspace(0.0, 1.0, 1001) ** 0.6  # finer where N bends most
    waiting = np.interp(demand[within], grid, [one.plant.in_system(float(d)) for d in grid]) / rate
    return float((answers[within] - one.objective.latency_weight * waiting).max())
