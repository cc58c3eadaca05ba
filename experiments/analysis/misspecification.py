"""The cost of wrong beliefs: decisions are made with one belief off by a fifth, then evaluated on the true plant.

Nothing corrects the belief or the decision here. The live estimator does, so these are the costs until it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from controller.load import Load
from controller.planning.decision import Decision
from controller.planning.joint_program import Optimizer
from experiments.analysis.capacity import largest_rate, sheds_from
from experiments.analysis.situation import Situation
from models.profile.plant import Plant, StepTime

FACTORS = (0.8, 1.2)
BUSY = 0.9  # share of the largest rate that is served without any loss of accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class BelievedOutcome:
    """The result of a decision on the true plant and load."""

    load: float  # of the plant's capacity
    accuracy: float  # correct answers per request; a request turned away counts as wrong
    latency_s: float | None  # mean of the requests served; None: overload, the queue grows for ever
    shed: float  # share of requests turned away


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """One wrong belief and its cost."""

    name: str
    factor: float  # believed over true value
    outcome: BelievedOutcome
    accuracy_change: float  # against the decision with right beliefs
    latency_change_s: float | None  # likewise; None: one of the two is overloaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Misspecification:
    """All wrong beliefs at one rate."""

    regime: str
    rate: float  # requests/s
    right: BelievedOutcome
    wrong: tuple[Belief, ...]


def misspecification(one: Situation, clock: Callable[[], float], advance: Callable[[], None]) -> list[Misspecification]:
    """Evaluates all wrong beliefs at a rate served without loss, and at one that costs accuracy. Raises SolverError."""
    lossless = largest_rate(one, [float(one.hull(d)[1][-1]) for d in range(len(one.mix))])
    beyond = math.sqrt(lossless * max(lossless, sheds_from(one)))
    program = Optimizer(one.tables, one.objective, clock=clock)
    found = []
    for regime, rate in (("busy", BUSY * lossless), ("overcommitted", beyond)):
        found.append(at_rate(one, program, regime, rate))
        advance()
    return found


def at_rate(one: Situation, program: Optimizer, regime: str, rate: float) -> Misspecification:
    """Evaluates all wrong beliefs at one rate, requests/s. Raises SolverError."""
    load = one.load(rate)
    right = _outcome(one, rate, program.solve(load, one.plant))
    wrong = []
    for name, believed in BELIEFS.items():
        for factor in FACTORS:
            met = _outcome(one, rate, program.solve(*believed(load, one.plant, factor)))
            both = met.latency_s is not None and right.latency_s is not None
            wrong.append(
                Belief(
                    name=name,
                    factor=factor,
                    outcome=met,
                    accuracy_change=met.accuracy - right.accuracy,
                    latency_change_s=met.latency_s - right.latency_s if both else None,  # type: ignore[operator]
                )
            )
    return Misspecification(regime=regime, rate=rate, right=right, wrong=tuple(wrong))


def _outcome(one: Situation, rate: float, decision: Decision) -> BelievedOutcome:
    shares = one.mix * (1.0 - decision.shed)
    tokens = (decision.mixture * one.tables.tokens).sum(axis=1) + one.tables.shed_tokens * decision.shed
    demand, served = rate * float(one.mix @ tokens), float(shares.sum())
    steady = demand < one.plant.capacity and served > 0.0
    return BelievedOutcome(
        load=demand / one.plant.capacity,
        accuracy=float(shares @ decision.accuracy),
        latency_s=one.plant.latency(demand, rate * served) if steady else None,
        shed=1.0 - served,
    )


def _step_time(load: Load, plant: Plant, factor: float) -> tuple[Load, Plant]:
    t = plant.step_time
    return load, replace(plant, step_time=StepTime(a=factor * t.a, c=factor * t.c, g=factor * t.g))


def _length(load: Load, plant: Plant, factor: float) -> tuple[Load, Plant]:
    return replace(load, work_ratio=factor * load.work_ratio), plant


def _hardest(load: Load, plant: Plant, factor: float) -> tuple[Load, Plant]:
    hardest = min(1.0, factor * float(load.mix[-1]))
    others = load.mix[:-1].sum()
    rest = load.mix[:-1] * (1.0 - hardest) / others if others > 0.0 else load.mix[:-1]
    mix = np.append(rest, hardest) if others > 0.0 else load.mix
    return replace(load, mix=mix), plant


def _rate(load: Load, plant: Plant, factor: float) -> tuple[Load, Plant]:
    return replace(load, rate=factor * load.rate), plant


BELIEFS: dict[str, Callable[[Load, Plant, float], tuple[Load, Plant]]] = {
    "step time": _step_time,
    "request length": _length,
    "share of the hardest class": _hardest,
    "arrival rate": _rate,
}
