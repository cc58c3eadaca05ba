"""Solves situations: the policy map for the inner loop to look up, and the joint program for what it should come to.

The map alone knows how the price grows with the queue, the joint program alone knows floors and what each constraint
costs. So limits come from the map's prices, and floors, expectations and shadow prices from the joint program.
"""

from __future__ import annotations

from collections.abc import Callable

from controller.planning.decision import Decision
from controller.planning.joint_program import Optimizer
from controller.planning.objective import Objective
from controller.planning.plan import Plan, Situation
from controller.planning.policy_map import PolicyMapper
from models.profile.tables import Profile


class Planner:
    """Both programs of one profile, compiled again only when the objective changes. For one thread at a time."""

    def __init__(self, profile: Profile, *, clock: Callable[[], float]) -> None:
        self._profile = profile
        self._clock = clock
        self._compiled: tuple[Objective, int, Optimizer, PolicyMapper] | None = None
        self._previous: tuple[float, Decision] | None = None

    def __call__(self, situation: Situation) -> Plan:
        """Raises SolverError if no solver finds a solution."""
        started = self._clock()
        optimizer, mapper = self._programs(situation.objective, situation.rows)
        found = mapper.solve(situation.load, situation.plant)
        then, previous = self._previous or (situation.time_s, None)
        decision = optimizer.solve(
            situation.load, situation.plant, previous=previous, elapsed_s=max(0.0, situation.time_s - then)
        )
        self._previous = situation.time_s, decision
        return Plan(
            situation=situation,
            prices=tuple(float(price) for price in found.price),
            decision=decision,
            solve_s=self._clock() - started,
        )

    def _programs(self, objective: Objective, rows: int) -> tuple[Optimizer, PolicyMapper]:
        if self._compiled is None or self._compiled[:2] != (objective, rows):
            self._compiled = (
                objective,
                rows,
                Optimizer(self._profile, objective, clock=self._clock),
                PolicyMapper(self._profile, objective, rows=rows, clock=self._clock),
            )
            self._previous = None
        return self._compiled[2:]
