"""Pareto fronts: the most accuracy that can be had for a number of tokens, and for a mean latency at each rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.planning.policy_map import ladder
from experiments.analysis.situation import Situation
from models.profile.tables import OperatingPoint, OperatingTables, prune_hull

FIXED = (0.9, 0.95, 0.97)  # thresholds that are marked, alike for all classes and without a budget
SAMPLES = 80  # points of a front against latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Settings of which none is beaten by a mixture of others; between two neighbours requests are mixed."""

    tokens: tuple[float, ...]  # of a mean request, rising
    accuracy: tuple[float, ...]  # rising
    settings: tuple[tuple[OperatingPoint, ...], ...]  # by class

    def accuracy_at(self, tokens: float) -> float | None:
        """The most accuracy for so many tokens; None: nothing is that cheap."""
        return float(np.interp(tokens, self.tokens, self.accuracy)) if tokens >= self.tokens[0] else None

    def tokens_at(self, accuracy: float) -> float | None:
        """The fewest tokens for this accuracy; None: nothing is that accurate."""
        return float(np.interp(accuracy, self.accuracy, self.tokens)) if accuracy <= self.accuracy[-1] else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """One setting for every request, whatever the load."""

    name: str
    tokens: float
    accuracy: float
    latency_s: tuple[float | None, ...]  # by rate; None: it does not keep up
    usable: bool  # whether it is among the points in use


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyFront:
    """A front at a rate, as far as demand stays within its bound; empty where nothing keeps up."""

    latency_s: tuple[float, ...]
    accuracy: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fronts:
    """Which freedom gains what."""

    constant: Front  # the same threshold and budget for all classes
    threshold: Front  # a threshold for each class, no budget
    joint: Front  # a threshold and a budget for each class
    rates: tuple[float, ...]
    latency: dict[str, tuple[LatencyFront, ...]]  # by the name of a front, by rate
    fixed: tuple[Fixed, ...]


def fronts(one: Situation) -> Fronts:
    """The fronts of the points in use, and the fixed points measured whether they are in use or not."""
    unbound = [k for k, point in enumerate(one.tables.points) if point.budget >= one.measured.max_tokens]
    found = {
        "constant": _constant(one),
        "threshold": _front(one, one.tables.at(unbound)),
        "joint": _front(one, one.tables),
    }
    return Fronts(
        **found,
        rates=one.rates,
        latency={name: tuple(_at_rate(one, front, rate) for rate in one.rates) for name, front in found.items()},
        fixed=tuple(_fixed(one)),
    )


def latency_at(one: Situation, tokens: float, rate: float) -> float | None:
    """Mean seconds from arrival to end of requests of so many tokens; None: they are more than are planned for."""
    demand = tokens * rate
    return one.plant.latency(demand, rate) if demand <= one.bound * (1.0 + 1e-9) else None


def _front(one: Situation, tables: OperatingTables) -> Front:
    levels = ladder(tables, one.load(1.0))
    # A class of which nobody comes climbs without effect: one level of each such run stands for it.
    keep = np.flatnonzero(np.diff(levels.accuracy, prepend=-1.0) > 1e-12)
    return Front(
        tokens=tuple(levels.tokens[keep].tolist()),
        accuracy=tuple(levels.accuracy[keep].tolist()),
        settings=tuple(tuple(tables.points[k] for k in row) for row in levels.points[keep]),
    )


def _constant(one: Situation) -> Front:
    tokens, accuracy = one.mix @ one.tables.tokens, one.mix @ one.tables.accuracy
    hull = prune_hull(tokens, accuracy)
    return Front(
        tokens=tuple(tokens[hull].tolist()),
        accuracy=tuple(accuracy[hull].tolist()),
        settings=tuple((one.tables.points[k],) * len(one.mix) for k in hull),
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
    used = {(point.threshold, point.budget) for point in one.tables.points}
    found = []
    for theta, i in rows:
        tokens = float(one.mix @ np.array(measured.tokens)[:, i, 0])
        found.append(
            Fixed(
                name="full thought" if theta is None else f"fixed {theta:.2f}",
                tokens=tokens,
                accuracy=float(one.mix @ np.array(measured.accuracy)[:, i, 0]),
                latency_s=tuple(latency_at(one, tokens, rate) for rate in one.rates),
                usable=theta is None or (theta, float(measured.max_tokens)) in used,
            )
        )
    return found
