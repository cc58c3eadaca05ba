"""Replay of a decision log: the controller's figures, and the results that other policies would have had.

Policies are compared on the plant model, at the load and step time that were estimated at each decision. Means are over
requests. Beyond the bound on demand, N(D) continues along its tangent at the bound, so that means stay finite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from controller.decision_record import DecisionRecord
from controller.load import Load
from controller.planning.bisection import decide
from experiments.analysis.situation import Situation
from models.profile.plant import Plant
from models.profile.tables import OperatingTables, prune_hull

Array = npt.NDArray[np.float64]

COMPARED = 40  # decisions of the log, evenly spaced, at which policies are compared
IDLE = 10.0  # median gaps that a decision counts for at most; for the rest of a longer gap the system was idle
HALVINGS = 14  # steps of the search for the latency weight that gives the log's accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyComparison:
    """The results of one policy under the log's loads."""

    name: str
    accuracy: float  # of the requests served
    latency_s: float  # mean of the requests served
    shed: float  # share of requests turned away
    overloaded: float  # share of the time in which demand exceeded its bound


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReplay:
    """The figures of a log."""

    decisions: int
    minutes: float
    rungs: dict[str, int]  # number of decisions by source
    failures: int  # decisions that are marked as failed
    solves: int
    solve_median_ms: float | None  # None: the log has no solve
    solve_p99_ms: float | None  # None: the log has no solve
    movement: tuple[float, ...]  # of each class's threshold, confidence per minute
    policies: tuple[PolicyComparison, ...]
    entries: tuple[DecisionRecord, ...]


def replay(one: Situation, entries: Sequence[DecisionRecord], advance: Callable[[], None]) -> LogReplay:
    """Computes a log's figures; `entries` are in order of time."""
    minutes = (entries[-1].time_s - entries[0].time_s) / 60.0
    thresholds = np.minimum(np.array([entry.threshold for entry in entries]), 1.0)  # at 1: never closed
    moved = np.abs(np.diff(thresholds, axis=0)).sum(axis=0)
    solve_ms = 1e3 * np.array(solves(entries))
    found = LogReplay(
        decisions=len(entries),
        minutes=minutes,
        rungs=dict(Counter(entry.rung for entry in entries).most_common()),
        failures=sum(entry.failed for entry in entries),
        solves=len(solve_ms),
        solve_median_ms=float(np.median(solve_ms)) if len(solve_ms) else None,
        solve_p99_ms=float(np.quantile(solve_ms, 0.99)) if len(solve_ms) else None,
        movement=tuple((moved / minutes if minutes > 0.0 else 0.0 * moved).tolist()),
        policies=tuple(compare(one, entries)),
        entries=tuple(entries),
    )
    advance()
    return found


def solves(entries: Sequence[DecisionRecord]) -> list[float]:
    """Returns the seconds of each solve, once per solve even if several decisions share it."""
    return list({entry.solve: entry.solve_s for entry in entries if entry.solve is not None}.values())


def compare(one: Situation, entries: Sequence[DecisionRecord]) -> list[PolicyComparison]:
    """Compares the log's decisions with full thought and with policies tuned in hindsight to the log's accuracy."""
    until = np.array([entry.time_s for entry in entries])
    usual = float(np.median(np.diff(until))) if len(until) > 1 else 1.0
    lasted = np.minimum(np.diff(until, append=until[-1] + usual), IDLE * usual)
    requests = np.array([entry.rate for entry in entries]) * np.maximum(lasted, 1e-9)
    places = np.unique(np.linspace(0, len(entries) - 1, COMPARED).round().astype(int))
    places = places[requests[places] > 0.0]
    if not places.size:
        return []
    moments = [_Moment(one, entries[place], float(requests[place])) for place in places]
    own = _compared("the log", moments, [moment.own() for moment in moments])
    tables = one.constants
    unbound = [k for k, point in enumerate(tables.points) if point.budget is None]
    found = [
        own,
        _compared("full thought", moments, [moment.point(tables, np.eye(len(tables.points))[0]) for moment in moments]),
    ]
    for name, columns in (
        ("best constant threshold", unbound),
        ("best constant threshold and budget", list(range(len(tables.points)))),
    ):
        shares = _constant(tables, moments, columns, own.accuracy)
        found.append(_compared(name, moments, [moment.point(tables, shares) for moment in moments]))
    found.append(_adaptive(one, moments, own.accuracy))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Met:
    accuracy: float  # of the requests served
    shed: float
    in_system: float
    over: bool  # whether demand exceeds its bound


class _Moment:
    """The load and plant of one logged decision."""

    def __init__(self, one: Situation, entry: DecisionRecord, requests: float) -> None:
        self.one, self.entry, self.requests = one, entry, requests
        self.plant: Plant = replace(one.plant, step_time=entry.step_time)
        self.load = Load(rate=entry.rate, mix=np.array(entry.mix), work_ratio=np.array(entry.work_ratio))

    def own(self) -> _Met:
        entry = self.entry
        shares = self.load.mix * (1.0 - np.array(entry.shed))
        return self._met(shares, np.array(entry.accuracy), entry.demand)

    def point(self, tables: OperatingTables, shares: Array) -> _Met:
        """Evaluates the same mixture of points for every class."""
        mixture = np.tile(shares, (len(self.load.mix), 1))
        return self.mixture(tables, mixture, np.zeros(len(self.load.mix)))

    def mixture(self, tables: OperatingTables, mixture: Array, shed: Array) -> _Met:
        served = np.maximum(mixture.sum(axis=1), 1e-12)
        tokens = (mixture * tables.tokens).sum(axis=1) + tables.shed_tokens * shed
        demand = float((self.load.rates * self.load.work_ratio) @ tokens)
        return self._met(self.load.mix * (1.0 - shed), (mixture * tables.accuracy).sum(axis=1) / served, demand)

    def _met(self, shares: Array, accuracy: Array, demand: float) -> _Met:
        bound = self.one.objective.max_load * self.plant.capacity
        served = float(shares.sum())
        beyond = max(0.0, demand - bound)
        waiting = self.plant.in_system(min(demand, bound)) + (self.plant.slope(bound) * beyond if beyond else 0.0)
        return _Met(
            accuracy=float(shares @ accuracy) / served if served > 0.0 else 0.0,
            shed=1.0 - served,
            in_system=waiting,
            over=beyond > 1e-6 * bound,
        )


def _compared(name: str, moments: Sequence[_Moment], met: Sequence[_Met]) -> PolicyComparison:
    requests = np.array([moment.requests for moment in moments])
    served = requests * (1.0 - np.array([one.shed for one in met]))
    seconds = np.array([moment.requests / moment.entry.rate for moment in moments])
    total = float(served.sum())
    return PolicyComparison(
        name=name,
        accuracy=float(served @ [one.accuracy for one in met]) / total if total > 0.0 else 0.0,
        latency_s=float(seconds @ [one.in_system for one in met]) / total if total > 0.0 else 0.0,
        shed=1.0 - total / float(requests.sum()),
        overloaded=float(seconds @ [one.over for one in met]) / float(seconds.sum()),
    )


def _constant(tables: OperatingTables, moments: Sequence[_Moment], columns: Sequence[int], accuracy: float) -> Array:
    """Returns the cheapest mixture of these points, constant over classes and time, with this mean accuracy."""
    weight = np.array([moment.requests for moment in moments])
    by_class = weight @ np.array([moment.load.mix for moment in moments]) / weight.sum()
    worked = weight @ np.array([moment.load.mix * moment.load.work_ratio for moment in moments]) / weight.sum()
    tokens, answers = worked @ tables.tokens[:, columns], by_class @ tables.accuracy[:, columns]
    hull = prune_hull(tokens, answers)
    place = float(np.interp(accuracy, answers[hull], np.arange(len(hull))))
    low, high = int(place), min(int(place) + 1, len(hull) - 1)
    shares = np.zeros(len(tables.points))
    shares[columns[hull[low]]] += 1.0 - (place - low)
    shares[columns[hull[high]]] += place - low
    return shares


def _adaptive(one: Situation, moments: Sequence[_Moment], accuracy: float) -> PolicyComparison:
    """Decides by price bisection at each load, with the latency weight that gives this accuracy."""

    def at(weight: float) -> PolicyComparison:
        objective = replace(one.objective, latency_weight=weight, accuracy_floors=())
        decided = [decide(one.tables, objective, moment.load, moment.plant) for moment in moments]
        met = [moment.mixture(one.tables, did.mixture, did.shed) for moment, did in zip(moments, decided, strict=True)]
        return _compared("by the load, equally accurate", moments, met)

    low, high = 1e-6, 10.0  # accuracy falls with the weight
    best = at(low)
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        tried = at(middle)
        if tried.accuracy >= accuracy - 1e-9:
            low, best = middle, tried
        else:
            high = middle
    return best
