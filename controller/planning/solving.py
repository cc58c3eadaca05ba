"""Tries one solver after the other on a program."""

from __future__ import annotations

from collections.abc import Sequence

import cvxpy as cp

from models.errors import LaserError

# The second is tried if the first fails: HiGHS through SciPy, because HiGHS's own interface prints a banner each time.
SOLVERS = (cp.CLARABEL, cp.SCIPY)


class SolverError(LaserError, RuntimeError):
    """No solver found an optimum; the message contains each solver's report."""


def optimum(problem: cp.Problem, solvers: Sequence[str], *, rate: float) -> str:
    """Solves the problem and returns the name of the solver that found the optimum.

    Raises SolverError if none does; the message names `rate`, the arrival rate of the problem, requests/s.
    """
    reports = []
    for solver in solvers:
        try:
            problem.solve(solver=solver)  # type: ignore[no-untyped-call]
        except (cp.error.SolverError, UserWarning) as error:
            reports.append(f"{solver}: {error}")
            continue
        if problem.status == cp.OPTIMAL:
            return solver
        reports.append(f"{solver}: {problem.status}")
    raise SolverError(f"no optimum for {rate:.6g} requests/s: {'; '.join(reports)}")
