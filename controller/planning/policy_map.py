"""The policy map: the best thresholds and budgets for each number of requests in the system.

The classes' hulls merge into one ladder of levels k: each level moves one class to its next point, the class whose next
point gains the most accuracy per token. With tokens W_k and accuracy q_k of a mean request at level k, and y[n,k] the
share of time with n requests at level k (requests end at rate R_n/W_k; requests beyond n_max are turned away),

    max   Σ y·R_n·q_k/W_k − w·Σ n·y − π·λ·Σ_k y[n_max,k]
    s.t.  λ·Σ_k y[n,k] = Σ_k y[n+1,k]·R_{n+1}/W_k;  Σ y = 1

Where thoughts race, W_k and q_k are of a row, too: places left idle by n requests make a race short (see `races`), and
the levels are those of several ladders.

Like the joint program, this one is compiled once and a solve only changes its parameters. A solve takes tens of
milliseconds; the inner loop then only looks up the table. With the allowance of an account of risk, the mean charge of
a request is one more constraint, and policy iteration solves it (see `policy_iteration`), as where thoughts race, and
where there are many rows: a program of hundreds takes seconds and gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import numpy.typing as npt
from cvxpy.atoms.affine.binary_operators import multiply  # type checkers don't see these two as cp.multiply …
from cvxpy.atoms.affine.sum import sum as total  # … and cp.sum

from controller.load import Load
from controller.planning.ladder import ChargedLadders, Ladder, RacingLadders, ladder, uncharged
from controller.planning.objective import Objective
from controller.planning.policy_iteration import FREE, ChainRows, affordable
from controller.planning.races import RowsOfRaces, has_races
from controller.planning.solving import SOLVERS, optimum
from controller.risk.account import Allowance
from models.profile.plant import Plant
from models.profile.tables import OperatingTables, prune_hull

Array = npt.NDArray[np.float64]

PROGRAM_ROWS = 64  # that the program has at most


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PolicyMap:
    """The table, with rows for 1, 2, … requests in the system."""

    classes: tuple[str, ...]
    price: Array  # correct answers that a token costs the others, by row
    level: npt.NDArray[np.intp]  # of the ladder, by row
    points: npt.NDArray[np.intp]  # [row, class]: places in the tables' points
    value: float  # of the program, correct answers per request
    in_system: float  # mean number of requests
    turned_away: float  # share of requests that arrive in the last row; large if the table has too few rows
    solver: str
    solve_s: float
    risk_price: float = 0.0  # correct answers per unit of risk, of the allowance and of kept risk; 0: no account
    charge: float = 0.0  # mean of a request to the account of risk; 0: no account

    def row(self, n: int) -> int:
        """Returns the index of the row for n requests in the system."""
        return min(max(n, 1), len(self.price)) - 1


class PolicyMapper:
    """The program for one profile's tables, compiled once for a fixed number of rows. Not thread-safe.

    With more than PROGRAM_ROWS rows there is no program to compile, and policy iteration finds every map.
    """

    def __init__(
        self,
        tables: OperatingTables,
        objective: Objective,
        *,
        rows: int = 64,
        clock: Callable[[], float],
        solvers: tuple[str, ...] = SOLVERS,
    ) -> None:
        if rows < 2:
            raise ValueError(f"rows is {rows}, must be at least 2")
        self.tables = tables
        self.objective = objective
        self.rows = rows
        self._clock = clock
        self._solvers = solvers
        self._problem = self._compiled() if rows <= PROGRAM_ROWS else None

    def _compiled(self) -> cp.Problem:
        tables, rows = self.tables, self.rows
        levels = 1 + sum(len(prune_hull(*pair)) - 1 for pair in zip(tables.tokens, tables.accuracy, strict=True))
        # The unit of time is the mean time between arrivals, so that rates are per arrival and the value per request.
        self._service = cp.Parameter((rows, levels), nonneg=True)  # R_n / (λ·W_k)
        self._reward = cp.Parameter((rows, levels))
        idle, y = cp.Variable(nonneg=True), cp.Variable((rows, levels), nonneg=True)
        present, ended = total(y, axis=1), total(multiply(self._service, y), axis=1)
        self._y = y
        problem = cp.Problem(
            cp.Maximize(total(multiply(self._reward, y))),
            [idle + total(y) == 1.0, idle == ended[0], present[:-1] == ended[1:]],
        )
        assert problem.is_dpp()
        return problem

    @property
    def problem(self) -> cp.Problem | None:
        """The compiled program; None: there are too many rows for one."""
        return self._problem

    def solve(self, load: Load, plant: Plant, allowance: Allowance | None = None) -> PolicyMap:
        """Returns the table for this load; `allowance` None: any charge is allowed, and costs nothing.

        Raises SolverError if no solver finds an optimum, ValueError if the load does not have the tables' number of
        classes.
        """
        if len(load.mix) != len(self.tables.classes):
            raise ValueError(
                f"mix has {len(load.mix)} classes, the profile {len(self.tables.classes)}: must be as many"
            )
        started = self._clock()
        rate = max(load.rate, self.objective.min_rate)
        n = np.arange(1.0, self.rows + 1.0)
        decoded = np.array([plant.rate(int(here)) for here in n]) / rate  # tokens per arrival
        waiting = np.asarray(self.objective.latency_weight / rate * n, dtype=np.float64)
        allowance, races = None if self.tables.charges is None else allowance, has_races(self.tables)
        problem = self._problem
        if allowance is not None or races or problem is None:
            raced = RowsOfRaces(self.tables, load, plant, self.rows)
            rows = ChainRows(decoded=decoded, waiting=waiting, turned_away=self.objective.shed_penalty, raced=raced)
            charged = self.tables if allowance is not None else uncharged(self.tables)
            ladders = RacingLadders(charged, load, plant) if races else ChargedLadders(charged, load)
            return self._affordable(ladders, rows, allowance or FREE, started)
        levels = ladder(self.tables, load)
        service = decoded[:, None] / levels.tokens
        reward = service * levels.accuracy - waiting[:, None]
        reward[-1] -= self.objective.shed_penalty
        self._service.value, self._reward.value = service, reward
        solver = optimum(problem, self._solvers, rate=rate)
        value = float(problem.objective.value)  # correct answers per request
        shares = np.maximum(np.asarray(self._y.value, dtype=np.float64), 0.0).sum(axis=1)
        price = self._prices(value, levels, decoded, waiting, usual=int(shares.argmax()))
        level = (levels.accuracy - price[:, None] * levels.tokens).argmax(axis=1)
        return PolicyMap(
            classes=self.tables.classes,
            price=price,
            level=level,
            points=levels.points[level],
            value=value,
            in_system=float(shares @ n),
            turned_away=float(shares[-1]),
            solver=solver,
            solve_s=self._clock() - started,
        )

    def _affordable(
        self, ladders: ChargedLadders | RacingLadders, rows: ChainRows, allowance: Allowance, started: float
    ) -> PolicyMap:
        found = affordable(ladders, rows, allowance)
        paid = found.risk_price - allowance.worth
        allowed = paid * allowance.charge if paid else 0.0
        return PolicyMap(
            classes=self.tables.classes,
            price=found.price,
            level=found.level,
            points=found.levels.points[found.level],
            value=found.value + allowed,
            in_system=float(found.shares @ np.arange(1.0, self.rows + 1.0)),
            turned_away=float(found.shares[-1]),
            solver="policy iteration",
            solve_s=self._clock() - started,
            risk_price=found.risk_price,
            charge=found.charge,
        )

    def _prices(self, value: float, levels: Ladder, decoded: Array, waiting: Array, *, usual: int) -> Array:
        """Returns p_n, what a token costs the others, by row; each class then takes its best Q − p_n·κ·W.

        Bellman's equation relates p_n to u_n, the value of having one request fewer:
        p_n·R_n/λ = value + w·n/λ + u_{n+1}  and  p_n = max_k (q_k + u_n)/W_k.  Errors fade if the recursion runs from
        both ends towards the most frequent row, `usual`. (In rare rows the shares y are too small to show a level.)
        """
        price = np.empty(self.rows)
        fewer = -value
        for row in range(usual + 1):
            price[row] = np.max((levels.accuracy + fewer) / levels.tokens)
            fewer = price[row] * decoded[row] - value - waiting[row]
        fewer = self.objective.shed_penalty  # one request beyond the last row is turned away
        for row in range(self.rows - 1, usual, -1):
            price[row] = (value + waiting[row] + fewer) / decoded[row]
            fewer = -np.max(levels.accuracy - price[row] * levels.tokens)
        return price
