"""Replays a decision log: recomputes each decision from its recorded inputs and compares the results."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from controller.decision_record import DecisionRecord, SolvedFor
from controller.planning.objective import Objective
from controller.planning.plan import price_at
from controller.planning.policy_map import PolicyMapper
from controller.planning.races import racing
from controller.selection import Held, choose, move, safe_points
from models.profile.profile import Profile
from models.profile.tables import OperatingTables

NEAR = 1e-3  # relative difference up to which prices are equal: a solver's optimum depends on its starting point


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedDecision:
    """A decision that came out otherwise, or followed one on points that the tables do not have."""

    number: int  # in the log, from 1
    record: DecisionRecord
    now: Held  # what would be in force


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The result of a replay."""

    decisions: int
    solves: int  # policy maps solved again
    price_error: float  # the largest relative difference between a recorded price and the recomputed one
    changed: tuple[ChangedDecision, ...]

    @property
    def same(self) -> bool:
        """Whether all points are equal and all prices are equal up to NEAR."""
        return not self.changed and self.price_error <= NEAR


def replay(profile: Profile, records: Iterable[DecisionRecord]) -> Replayed:
    """Solves every recorded solve request again, looks every price up again, and recomputes every decision's points.

    `profile`: with the certified points among which the controller chose. Raises SolverError if a map has no solution.
    """
    tables = profile.tables()
    maps = _Maps(tables)
    changed, worst, number = [], 0.0, 0
    for number, record in enumerate(records, start=1):
        if record.situation is not None and record.price is not None:
            price = price_at(maps.prices(record.situation), record.n)
            error = abs(price - record.price) / max(abs(record.price), 1e-12)
            worst = max(worst, error if math.isfinite(error) else math.inf)
        now = _decided(tables, profile.certificate.mean, record)
        if now != record.held or not _known(tables, record.before):
            changed.append(ChangedDecision(number=number, record=record, now=now))
    return Replayed(decisions=number, solves=maps.solves, price_error=worst, changed=tuple(changed))


def _decided(tables: OperatingTables, mean: float | None, record: DecisionRecord) -> Held:
    before = record.before if _known(tables, record.before) else None
    if record.price is None:
        target = safe_points(tables, mean)
    else:
        target = choose(
            racing(tables, None if record.situation is None else record.situation.plant, record.n),
            record.objective,
            price=record.price,
            work_ratio=np.array(record.work_ratio),
            before=None if before is None else before.target,
            floors=record.floors,
            steps=record.slo_steps,
            risk_price=record.risk_price,
            mix=np.array(record.mix),
            cells=record.cells,
        )
    return move(tables, record.objective, target=target, before=before, elapsed_s=record.elapsed_s)


def _known(tables: OperatingTables, held: Held | None) -> bool:
    """Whether the tables have all points that were in force; a log of other tables has points beyond them."""
    return held is None or all(0 <= k < len(tables.points) for k in (*held.target, *held.points))


class _Maps:
    """The prices of policy maps, each solved once."""

    def __init__(self, tables: OperatingTables) -> None:
        self._tables = tables
        self._mappers: dict[tuple[Objective, int], PolicyMapper] = {}
        self._prices: dict[SolvedFor, list[float]] = {}

    @property
    def solves(self) -> int:
        return len(self._prices)

    def prices(self, wanted: SolvedFor) -> list[float]:
        """Returns the token price by number in the system: 1, 2, …"""
        if wanted not in self._prices:
            key = wanted.objective, wanted.rows
            if key not in self._mappers:
                self._mappers[key] = PolicyMapper(self._tables, wanted.objective, rows=wanted.rows, clock=lambda: 0.0)
            self._prices[wanted] = self._mappers[key].solve(wanted.load, wanted.plant, wanted.allowance).price.tolist()
        return self._prices[wanted]
