"""Asks one solver after the other for a program's optimum."""

from __future__ import annotations

from collections.abc import Sequence

import cvxpy as cp

# The second where the first fails: SciPy's HiGHS, since HiGHS's own interface prints a banner whenever it is made.
SOLVERS = (cp.CLARABEL, cp.SCIPY)


class SolverError(RuntimeError):
    """No solver found an optimum; the message says what each of them reported."""


def optimum(problem: cp.Problem, solvers: Sequence[str], *, rate: float) -> str:
    """Solve it, and say who did. Raises SolverError naming the arrival rate that it was solved for, requests/s."""
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
