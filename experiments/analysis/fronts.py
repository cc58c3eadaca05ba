"""Pareto fronts: the highest accuracy for a number of tokens, and for a mean latency at each arrival rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.planning.ladder import ladder
from experiments.analysis.situation import Situation, tables_of
from models.profile.tables import OperatingPoint, OperatingTables, prune_hull

FIXED = (0.9, 0.95, 0.97)  # thresholds that are marked: the same for all classes, without a budget
SAMPLES = 80  # points of a latency front


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Settings that no mixture of other settings beats; points between two neighbours mix their requests."""

    tokens: tuple[float, ...]  # of a mean request, rising
    accuracy: tuple[float, ...]  # rising
    settings: tuple[tuple[OperatingPoint, ...], ...]  # [setting][class]

    def accuracy_at(self, tokens: float) -> float | None:
        """Returns the highest accuracy at this mean number of tokens; None: every setting needs more tokens."""
        return float(np.interp(tokens, self.tokens, self.accuracy)) if tokens >= self.tokens[0] else None

    def tokens_at(self, accuracy: float) -> float | None:
        """Returns the fewest mean tokens for this accuracy; None: every setting is less accurate."""
        return float(np.interp(accuracy, self.accuracy, self.tokens)) if accuracy <= self.accuracy[-1] else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """One setting for every request, whatever the load."""

    name: str
    tokens: float
    accuracy: float
    latency_s: tuple[float | None, ...]  # mean, by rate; None: demand exceeds its bound
    usable: bool  # whether the setting is among the points in use


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyFront:
    """The part of a front whose demand at one rate stays within its bound; empty if no setting's demand does."""

    latency_s: tuple[float, ...]
    accuracy: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fronts:
    """The fronts for increasingly free settings, and the fixed points."""

    constant: Front  # the same threshold and budget for all classes
    threshold: Front  # a threshold for each class, no budget
    joint: Front  # a threshold and a budget for each class
    rates: tuple[float, ...]
    latency: dict[str, tuple[LatencyFront, ...]]  # by the name of the front, then by rate
    fixed: tuple[Fixed, ...]


def fronts(one: Situation) -> Fronts:
    """Computes the fronts over the points in use, and all measured fixed points, in use or not."""
    unbound = tables_of(one.measured, certified_only=one.certified_only, kept=lambda point: point.budget is None)
    found = {
        "constant": _constant(one),
        "threshold": front(one, unbound),
        "joint": front(one, one.tables),
    }
    return Fronts(
        **found,
        rates=one.rates,
        latency={name: tuple(_at_rate(one, front, rate) for rate in one.rates) for name, front in found.items()},
        fixed=tuple(_fixed(one)),
    )


def latency_at(one: Situation, tokens: float, rate: float) -> float | None:
    """Returns the mean seconds from arrival to end of requests of `tokens` tokens; None: demand exceeds its bound."""
    demand = tokens * rate
    return one.plant.latency(demand, rate) if demand <= one.bound * (1.0 + 1e-9) else None


def front(one: Situation, tables: OperatingTables) -> Front:
    """Returns the front of settings by class over the points of these tables."""
    levels = ladder(tables, one.load(1.0))
    # Levels that only move a class with share 0 change nothing; the first level of each such run is kept.
    keep = np.flatnonzero(np.diff(levels.accuracy, prepend=-1.0) > 1e-12)
    return Front(
        tokens=tuple(levels.tokens[keep].tolist()),
        accuracy=tuple(levels.accuracy[keep].tolist()),
        settings=tuple(tuple(tables.points[k] for k in row) for row in levels.points[keep]),
    )


def _constant(one: Situation) -> Front:
    tables = one.constants
    tokens, accuracy = one.mix @ tables.tokens, one.mix @ tables.accuracy
    hull = prune_hull(tokens, accuracy)
    return Front(
        tokens=tuple(tokens[hull].tolist()),
        accuracy=tuple(accuracy[hull].tolist()),
        settings=tuple((tables.points[k],) * len(one.mix) for k in hull),
    )


def _at_rate(one: Situation, front: Front, rate: float) -> LatencyFront:
    most = min(front.tokens[-1], one.bound / rate)
    if most < front.tokens[0]:
        return LatencyFront(latency_s=(), accuracy=())
    between = np.linspace(front.tokens[0], most, SAMPLES)
    tokens = np.unique(np.concatenate((between, [t for t in front.tokens if t <= most])))
    return LatencyFront(
        latency_s=tuple(one.plant.latency(rate * float(t), rate) for t in tokens),
        accuracy=tuple(np.interp(tokens, front.tokens, front.accuracy).tolist()),
    )


def _fixed(one: Situation) -> list[Fixed]:
    measured = one.measured
    rows: list[tuple[float | None, int]] = [(None, 0)]
    rows += [(theta, measured.thresholds.index(theta)) for theta in FIXED if theta in measured.thresholds]
    found = []
    for theta, i in rows:
        tokens = float(one.mix @ np.array(measured.tokens)[:, i, 0])
        found.append(
            Fixed(
                name="full thought" if theta is None else f"fixed {theta:.2f}",
                tokens=tokens,
                accuracy=float(one.mix @ np.array(measured.accuracy)[:, i, 0]),
                latency_s=tuple(latency_at(one, tokens, rate) for rate in one.rates),
                usable=theta is None or OperatingPoint(threshold=theta, budget=None) in one.constants.points,
            )
        )
    return found
