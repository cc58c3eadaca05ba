"""Answers solve requests with two programs: the policy map for the inner loop, and the joint program for expectations.

Only the policy map models how the price grows with the queue; only the joint program models floors and the cost of each
constraint. So limits come from the map's prices; floors, expectations and shadow prices come from the joint program.
"""

from __future__ import annotations

from collections.abc import Callable

from controller.planning.decision import Decision
from controller.planning.memory import MemoryOptimizer
from controller.planning.objective import Objective
from controller.planning.plan import Plan, SolveRequest
from controller.planning.policy_map import PolicyMapper
from models.profile.tables import OperatingTables


class Planner:
    """Both programs for one profile's tables, recompiled when another thing than the load changes. Not thread-safe."""

    def __init__(self, tables: OperatingTables, *, clock: Callable[[], float]) -> None:
        self._tables = tables
        self._clock = clock
        self._compiled: tuple[Objective, int, bool, MemoryOptimizer, PolicyMapper] | None = None
        self._previous: tuple[float, Decision] | None = None

    def __call__(self, request: SolveRequest) -> Plan:
        """Returns the plan for a request. Raises SolverError if no solver finds a solution."""
        started = self._clock()
        optimizer, mapper = self._programs(request.objective, request.rows, request.races)
        then, previous = self._previous or (request.time_s, None)
        decision = optimizer.solve(
            request.load,
            request.plant,
            previous=previous,
            elapsed_s=max(0.0, request.time_s - then),
            allowance=request.allowance,
            memory=request.memory,
        )
        mapped = request.at(decision.batch)
        found = mapper.solve(mapped.load, mapped.plant, mapped.allowance)
        self._previous = request.time_s, decision
        return Plan(
            request=request,
            prices=tuple(float(price) for price in found.price),
            decision=decision,
            solve_s=self._clock() - started,
            risk=0.0 if request.allowance is None else max(0.0, found.risk_price - request.allowance.worth),
        )

    def _programs(self, objective: Objective, rows: int, races: bool) -> tuple[MemoryOptimizer, PolicyMapper]:
        if self._compiled is None or self._compiled[:3] != (objective, rows, races):
            tables = self._tables if races else self._tables.alone()
            self._compiled = (
                objective,
                rows,
                races,
                MemoryOptimizer(tables, objective, clock=self._clock),
                PolicyMapper(tables, objective, rows=rows, clock=self._clock),
            )
            self._previous = None
        return self._compiled[3:]
