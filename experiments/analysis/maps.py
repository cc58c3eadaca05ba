"""The policy map over rates: for each, a table of thresholds and budgets by the number of requests in the system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controller.planning.plan import enough_rows
from controller.planning.policy_map import PolicyMap, PolicyMapper
from experiments.analysis.policy_table import PolicyTable
from experiments.analysis.situation import Situation

RATES = 16
LEAST_ROWS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """The policy table, and the expected queue at each of its rates."""

    table: PolicyTable
    in_system: tuple[float, ...]  # mean number of requests in the system, by rate
    turned_away: tuple[float, ...]  # share of requests that arrive at the last row and are turned away, by rate


def policy_maps(
    one: Situation, rates: Sequence[float], clock: Callable[[], float], advance: Callable[[], None]
) -> Mapped:
    """Solves a policy map for each rate, with rows to twice the batch. Raises SolverError if no solver finds one."""
    rows = enough_rows(LEAST_ROWS, one.plant.max_batch)
    mapper = PolicyMapper(one.tables, one.objective, rows=rows, clock=clock)
    found: list[PolicyMap] = []
    for rate in rates:
        found.append(mapper.solve(one.load(rate), one.plant))
        advance()
    limits = [[[one.tables.points[k] for k in row] for row in at.points.tolist()] for at in found]
    return Mapped(
        table=PolicyTable(
            weights_sha256=one.measured.model.weights_sha256,
            classes=one.tables.classes,
            rates=tuple(rates),
            thresholds=tuple(tuple(tuple(point.threshold for point in row) for row in at) for at in limits),
            budgets=tuple(tuple(tuple(point.budget for point in row) for row in at) for at in limits),
        ),
        in_system=tuple(at.in_system for at in found),
        turned_away=tuple(at.turned_away for at in found),
    )


def grid(highest: float) -> list[float]:
    """Returns evenly spaced rates, the last 10 % above `highest`."""
    return [1.1 * highest * (n + 1) / RATES for n in range(RATES)]
