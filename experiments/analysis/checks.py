"""How far the models behind the decisions can be trusted: each against something that is exact, or nearly so."""

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
RATES = 8  # at which ways to decide are compared
GRID = 400  # loads at which tangents are held against N(D)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """N(D) at one load, against a simulation that counts every token."""

    load: float
    told: float  # requests
    simulated: float  # requests

    @property
    def error(self) -> float:
        """Relative to the simulation."""
        return self.told / self.simulated - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tangents:
    """By how much the optimiser's tangents fall short of N(D)."""

    loads: tuple[float, ...]
    errors: tuple[float, ...]  # relative to N(D), at most 0

    @property
    def worst(self) -> float:
        """The largest of them, relative to N(D)."""
        return -min(self.errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Ways to decide at one rate: the objective's value on the plant itself, correct answers per request."""

    rate: float  # requests/s
    linear_program: float
    price_bisection: float
    brute_force: float | None  # of all settings without mixing; None: not one is within the bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """All of them."""

    simulated: tuple[Simulated, ...]
    tangents: Tangents
    gaps: tuple[Gap, ...]


def checks(one: Situation, highest: float, clock: Callable[[], float], advance: Callable[[], None]) -> Checks:
    """Gaps are told up to the rate `highest`. Raises SolverError."""
    simulated = []
    for seed, load in enumerate(LOADS):
        simulated.append(against_simulation(one, load, requests=REQUESTS, seed=seed))
        advance()
    rates = [highest * (n + 1) / RATES for n in range(RATES)]
    return Checks(simulated=tuple(simulated), tangents=tangents(one), gaps=gaps(one, rates, clock, advance))


def against_simulation(one: Situation, load: float, *, requests: int, seed: int) -> Simulated:
    """Poisson arrivals, lognormal lengths with the mean and spread of full thoughts."""
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
    """The tangents of the objective, where the optimiser uses them."""
    lines = one.plant.lines(count=one.objective.tangents, max_load=max(one.objective.max_load, 0.9))
    loads = one.objective.max_load * np.arange(1, GRID + 1) / GRID
    told = [(lines.highest(d), one.plant.in_system(d)) for d in loads * one.plant.capacity]
    return Tangents(loads=tuple(loads.tolist()), errors=tuple(min(0.0, low / true - 1.0) for low, true in told))


def gaps(
    one: Situation, rates: Sequence[float], clock: Callable[[], float], advance: Callable[[], None]
) -> tuple[Gap, ...]:
    """Without floors and the order of budgets, which price bisection knows nothing of."""
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
    """What a decision is worth on the plant itself, correct answers per request; no overload, please."""
    answers = (decision.mixture * one.tables.accuracy).sum(axis=1) - one.objective.shed_penalty * decision.shed
    tokens = (decision.mixture * one.tables.tokens).sum(axis=1) + one.tables.shed_tokens * decision.shed
    waiting = one.plant.in_system(rate * float(one.mix @ tokens)) / rate
    return float(one.mix @ answers) - one.objective.latency_weight * waiting


def brute_force(one: Situation, rate: float) -> float | None:
    """The best of all settings by class, shedding a whole class among them, that keep demand within its bound."""
    tokens, answers = np.zeros(1), np.zeros(1)  # of a mean request, over the settings of the classes so far
    for d, share in enumerate(one.mix):
        cost = np.array([one.tables.shed_tokens, *one.tables.tokens[d]])
        gain = np.array([-one.objective.shed_penalty, *one.tables.accuracy[d]])
        order = np.lexsort((-gain, cost))
        order = order[np.diff(np.maximum.accumulate(gain[order]), prepend=-math.inf) > 0.0]  # dominated ones left out
        tokens = np.add.outer(tokens, share * cost[order]).ravel()
        answers = np.add.outer(answers, share * gain[order]).ravel()
    demand = rate * tokens
    within = demand <= one.bound * (1.0 + 1e-9)
    if not within.any():
        return None
    grid = one.bound * np.linspace(0.0, 1.0, 1001) ** 0.6  # finer where N bends most
    waiting = np.interp(demand[within], grid, [one.plant.in_system(float(d)) for d in grid]) / rate
    return float((answers[within] - one.objective.latency_weight * waiting).max())
