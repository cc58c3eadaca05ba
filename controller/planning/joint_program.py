"""The joint optimiser: finds the thresholds and budgets with the most correct answers, less the cost of waiting.

Each class d mixes the operating points k of its hull with weights x_dk; k = 0 sheds. Per request, with demand
D = Σ λ_d κ_d W_d·x_d tokens/s, Λ = Σ λ_d, and N the tangents of the plant's mean number in the system,

    max   Σ (λ_d/Λ) Q_d·x_d − (w/Λ)·N − stickiness·Σ (λ_d/Λ) ‖x_d − x_d,prev‖₁ − penalties·slack
    s.t.  x_d in the simplex;  N ≥ α_j D + β_j;  D ≤ ρ_max·D_max + s;  Q_d·x_d + e_d ≥ floor_d;
          |θ̄_d − θ̄_d,prev| ≤ δ·Δt + r_d;  B̄_1 ≤ B̄_2 + u_1 ≤ …

With an account of risk, which charges r_dk and allows a mean charge of A, and at which a unit kept is worth μ,
the objective also has − μ·Σ (λ_d/Λ) r_d·x_d, and Σ (λ_d/Λ) r_d·x_d ≤ A is one more constraint. Its price is told.
Where one corner counts for all classes, the columns are by corner c, too, with r_c the charge of each, and classes
share corners: Σ_k x_cdk ≤ y_c of every class d, with Σ y_c = 1 (see `columns`).

Where memory has room for M/b cells of each of b sequences, and a request holds C cells added over its decode steps,
Σ λ_d (C_d·b/M − κ_d W_d)·x_d ≤ 0 is another: a sequence holds M/b cells on average, or less (see `memory`).

Where w thoughts race, W counts the rows of all, and N as if a user waited for each, W/R(1) where nobody else is there.
But rivals let no user wait: such a race takes W/R(w). The difference, Σ λ_d κ_d W_d·x_d·(1/R(1) − 1/R(w)), is taken
from N, at any load, where it would be more.

Mixtures make this a linear program, exact on tables of any shape. The program is compiled once; a solve only changes
its parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cvxpy as cp
import numpy as np
import numpy.typing as npt
from cvxpy.atoms.affine.binary_operators import multiply  # type checkers don't see these two as cp.multiply …
from cvxpy.atoms.norm1 import norm1  # … and cp.norm1

from controller.load import Load
from controller.planning.columns import SHED, Columns
from controller.planning.decision import Decision, Prices, Slack, served
from controller.planning.objective import Objective
from controller.planning.races import has_races, spared
from controller.planning.solving import SOLVERS, optimum
from controller.risk.account import Allowance
from models.profile.plant import Lines, Plant
from models.profile.tables import OperatingTables

Array = npt.NDArray[np.float64]

PLANTS = 32  # of which the tangents are kept


class Optimizer:
    """The program for one profile's tables, compiled once. For one thread at a time.

    >>> import time
    >>> import numpy as np
    >>> from controller.load import Load
    >>> from controller.planning.joint_program import Optimizer
    >>> from controller.planning.objective import Objective
    >>> from models import bundled_model, read_profile
    >>> profile = read_profile(bundled_model() / "profile.json")
    >>> program = Optimizer(profile.tables(), Objective(latency_weight=0.01), clock=time.perf_counter)
    >>> load = Load(rate=2.0, mix=np.array([0.4, 0.3, 0.3]), work_ratio=np.ones(3))
    >>> program.solve(load, profile.plant_model()).status
    'optimal'
    """

    def __init__(
        self,
        tables: OperatingTables,
        objective: Objective,
        *,
        clock: Callable[[], float],
        solvers: tuple[str, ...] = SOLVERS,
        memory: bool = False,
    ) -> None:
        """`memory`: whether `solve` may be given a `room`."""
        if not isinstance(tables, OperatingTables):  # a Profile is what many have at hand
            raise TypeError(f"tables is a {type(tables).__name__}, must be OperatingTables: Profile.tables()")
        floors = objective.accuracy_floors
        if floors and len(floors) != len(tables.classes):
            raise ValueError(f"accuracy_floors has {len(floors)} entries, must have {len(tables.classes)} or none")
        self.tables = tables
        self.objective = objective
        self._clock = clock
        self._solvers = solvers
        self._memory = memory
        self._lines: dict[Plant, Lines] = {}

        # One column for each class and hull point, and before a class's points one for shedding, which has the
        # threshold and budget of the cheapest point: shedding moves the means no further than that point does.
        made = self._columns = Columns.of(tables, memory=memory)
        self._class, self._point = made.of_class, made.point
        shed, at = made.point == SHED, (made.of_class, made.stands_for)
        self._tokens = np.where(shed, tables.shed_tokens, tables.tokens[at])
        self._accuracy = np.where(shed, -objective.shed_penalty, tables.accuracy[at])
        self._thresholds, self._budgets = tables.thresholds[made.stands_for], tables.budgets[made.stands_for]
        self._risks = made.charged(tables)
        self._membership = np.equal.outer(np.arange(len(tables.classes)), self._class).astype(np.float64)
        self._merged = made.merged() if len(made.corners) else None  # None: no two columns are one point of a class
        self._compile()

    @property
    def problem(self) -> cp.Problem:
        """The compiled program."""
        return self._problem

    def solve(
        self,
        load: Load,
        plant: Plant,
        *,
        previous: Decision | None = None,
        elapsed_s: float = 0.0,
        allowance: Allowance | None = None,
        room: float | None = None,
    ) -> Decision:
        """Returns the best mixture for this load; `previous`, decided `elapsed_s` ago, limits how far it may move.

        `previous` None: no limit. `allowance` None: any charge is allowed, and costs nothing. `room`: cells of a
        sequence that the plant's `max_batch` leaves on average; None: any. Raises SolverError if no solver finds an
        optimum, ValueError if the load does not have the tables' number of classes or `elapsed_s` is negative or not
        finite.
        """
        if room is not None and not (self._memory and room > 0.0):
            raise ValueError(f"room is {room} cells, must be above 0, and None to a program without memory")
        if len(load.mix) != len(self.tables.classes):
            raise ValueError(
                f"mix has {len(load.mix)} classes, the profile {len(self.tables.classes)}: must be as many"
            )
        if not (math.isfinite(elapsed_s) and elapsed_s >= 0.0):
            raise ValueError(f"elapsed_s is {elapsed_s} s, must be finite and at least 0")
        started = self._clock()
        self._set(load, plant, previous, elapsed_s, allowance)
        self._room = room
        if self._fits is not None:
            self._crowding.value = self._crowded(load, plant, room)
        solver = optimum(self._problem, self._solvers, rate=load.rate)
        return self._decision(load, plant, solver, self._clock() - started)

    def _compile(self) -> None:
        objective, classes, columns = self.objective, len(self.tables.classes), len(self._class)
        top_budget = max(float(self._budgets.max()), 1.0)
        shares = self._membership
        self._gain = cp.Parameter(columns)  # (λ_d/Λ)·Q
        self._work = cp.Parameter(columns, nonneg=True)  # λ_d κ_d W / D_max
        self._line_slope = cp.Parameter(objective.tangents, nonneg=True)  # (w/Λ)·α·D_max
        self._line_intercept = cp.Parameter(objective.tangents, nonpos=True)  # (w/Λ)·β
        self._weight = cp.Parameter(classes, nonneg=True)  # λ_d/Λ
        points = columns if self._merged is None else len(self._merged)
        self._stick = cp.Parameter(points, nonneg=True)
        self._stick_previous = cp.Parameter(points, nonneg=True)  # stick·x_prev: a product of two parameters is no DPP
        self._lowest = cp.Parameter(classes)  # thresholds within the rate limit
        self._highest = cp.Parameter(classes)

        x = self._x = cp.Variable(columns, nonneg=True)
        rho = self._rho = cp.Variable()
        waiting = cp.Variable()  # (w/Λ)·N
        over = self._over = cp.Variable(nonneg=True)
        fast = self._fast = cp.Variable(classes, nonneg=True)
        mean_threshold: cp.Expression = cp.Constant(shares * self._thresholds) @ x

        users = self._line_slope * rho + self._line_intercept
        self._racing: cp.Parameter | None = None
        if has_races(self.tables):
            self._racing = cp.Parameter(columns, nonneg=True)  # (w/Λ)·λ_d κ_d W·(1/R(1) − 1/R(w))
            behind = cp.Variable(nonneg=True)  # a variable of its own keeps each tangent's row short
            users -= behind
        self._waits = waiting >= users
        self._bounded = rho <= objective.max_load + over
        self._falls = mean_threshold + fast >= self._lowest
        self._rises = mean_threshold - fast <= self._highest
        constraints = [shares @ x == 1.0, rho == self._work @ x, self._waits, self._bounded, self._falls, self._rises]
        if self._racing is not None:
            constraints.append(behind == self._racing @ x)
        mixed = x if self._merged is None else self._merged @ x
        value = (
            self._gain @ x
            - waiting
            - norm1(multiply(self._stick, mixed) - self._stick_previous)
            - objective.capacity_penalty * over
            - objective.threshold_penalty * (self._weight @ fast)
        )
        self._affords: cp.Constraint | None = None
        if self.tables.charges is not None:
            self._charge = cp.Parameter(columns, nonneg=True)  # (λ_d/Λ)·r
            self._charge_worth = cp.Parameter(columns, nonneg=True)  # μ·(λ_d/Λ)·r
            self._allowed = cp.Parameter(nonneg=True)  # A
            self._affords = self._charge @ x <= self._allowed
            constraints.append(self._affords)
            value -= self._charge_worth @ x
        self._fits: cp.Constraint | None = None
        if self._memory:
            self._crowding = cp.Parameter(columns)  # λ_d·(C/room − κ_d W) / D_max
            self._fits = self._crowding @ x <= 0.0
            constraints.append(self._fits)
        if len(self._columns.corners):
            constraints += self._shared(x)
        self._below: cp.Variable | None = None
        if objective.accuracy_floors:
            below = self._below = cp.Variable(classes, nonneg=True)
            alone = np.array([self.tables.points[k].race is None for k in self._columns.stands_for])  # races want room
            best = np.where((shares > 0.0) & alone, self._accuracy, -np.inf).max(axis=1)
            self._out_of_reach = np.maximum(np.array(objective.accuracy_floors) - best, 0.0)
            self._floors = cp.Constant(shares * self._accuracy) @ x + below >= np.array(objective.accuracy_floors)
            constraints.append(self._floors)
            value -= objective.floor_penalty * (self._weight @ below)
        if objective.order_penalty > 0.0 and classes > 1:
            disorder = cp.Variable(classes - 1, nonneg=True)
            mean_budget = (shares * self._budgets / top_budget) @ x
            constraints.append(mean_budget[:-1] <= mean_budget[1:] + disorder)
            value -= objective.order_penalty * (np.ones(classes - 1) @ disorder)
        self._problem = cp.Problem(cp.Maximize(value), constraints)
        assert self._problem.is_dpp()

    def _shared(self, x: cp.Variable) -> list[cp.Constraint]:
        """Returns that all classes are in the same corner at any time; whoever is shed is in none."""
        count = len(self._columns.corners)
        y = cp.Variable(count, nonneg=True)
        held = np.equal.outer(np.arange(count), self._columns.corner)  # [corner, column]
        each = [(held & (self._class == d)).astype(np.float64) @ x <= y for d in range(len(self.tables.classes))]
        return [np.ones(count) @ y == 1.0, *each]

    def _rates(self, load: Load) -> Array:
        """Returns λ_d, at least min_rate: a class without recent arrivals still needs a determined mixture."""
        return np.maximum(load.rates, self.objective.min_rate)

    def _cell_price(self, per_token: float) -> float:
        if self._fits is None or self._room is None:
            return 0.0
        price = float(_dual(self._fits)) * per_token / self._room
        return price if price > 1e-12 else 0.0  # an interior-point solver leaves residues

    def _tangents(self, plant: Plant) -> Lines:
        if plant not in self._lines:
            top = max(self.objective.max_load, 0.9)
            found = plant.lines(count=self.objective.tangents, max_load=top)
            self._lines = {**dict([*self._lines.items()][1 - PLANTS :]), plant: found}
        return self._lines[plant]

    def _users(self, load: Load, plant: Plant, x: Array, demand: float) -> float:
        """Returns the requests in the system, of whose thoughts those behind the first are none."""
        within = demand < plant.capacity
        every = plant.in_system(demand) if within else self._tangents(plant).highest(demand)
        if self._racing is None:
            return every
        rows = (load.rates * load.work_ratio)[self._class] * self._tokens * x
        return every - float(rows @ self._spared(plant))

    def _spared(self, plant: Plant) -> Array:
        """Returns `spared` of each column."""
        return np.where(self._point >= 0, spared(self.tables, plant)[np.maximum(self._point, 0)], 0.0)

    def _crowded(self, load: Load, plant: Plant, room: float | None) -> Array:
        """Returns by how much each column's cells exceed its room, as a share of the capacity; `room` None: any."""
        if room is None:
            return np.zeros(len(self._class))
        serving, k = self._point >= 0, np.maximum(self._point, 0)
        cells = np.where(serving, self.tables.cell_steps(load.work_ratio)[self._class, k], 0.0)
        steps = load.work_ratio[self._class] * self._tokens
        return np.asarray(self._rates(load)[self._class] * (cells / room - steps) / plant.capacity)

    def _set(
        self, load: Load, plant: Plant, previous: Decision | None, elapsed_s: float, allowance: Allowance | None
    ) -> None:
        rates, lines = self._rates(load), self._tangents(plant)
        weight, seconds = rates / rates.sum(), self.objective.latency_weight / rates.sum()
        column_weight = weight[self._class]
        self._gain.value = column_weight * self._accuracy
        self._work.value = (rates * load.work_ratio)[self._class] * self._tokens / plant.capacity
        self._line_slope.value = seconds * lines.slope * plant.capacity
        self._line_intercept.value = seconds * lines.intercept
        if self._racing is not None:
            self._racing.value = seconds * self._work.value * plant.capacity * self._spared(plant)
        self._weight.value = weight
        if self._affords is not None:
            charge, worth = (1.0, 0.0) if allowance is None else (allowance.charge, allowance.worth)
            self._charge.value = column_weight * self._risks
            self._charge_worth.value = worth * self._charge.value
            self._allowed.value = np.array(charge)
        if previous is None:
            self._stick.value = self._stick_previous.value = np.zeros(self._stick.size)
            self._lowest.value = np.full(len(weight), self._thresholds.min())
            self._highest.value = np.full(len(weight), self._thresholds.max())
        else:
            before = np.where(self._point < 0, previous.shed[self._class], previous.mixture[self._class, self._point])
            sticky = self.objective.stickiness * column_weight
            if self._merged is not None:
                before, sticky = (each[self._merged.argmax(axis=1)] for each in (before, sticky))
            self._stick.value = sticky
            self._stick_previous.value = self._stick.value * before
            reach = self.objective.threshold_rate * elapsed_s
            self._lowest.value = np.maximum(previous.threshold - reach, self._thresholds.min())
            self._highest.value = np.minimum(previous.threshold + reach, self._thresholds.max())

    def _decision(self, load: Load, plant: Plant, solver: str, solve_s: float) -> Decision:
        shares, classes = self._membership, len(self.tables.classes)
        x = np.maximum(_value(self._x), 0.0)
        x[x < 1e-6] = 0.0  # an interior-point solver leaves residues
        x /= (shares @ x)[self._class]
        serving = self._point >= 0
        mixture = np.zeros((classes, len(self.tables.points)))
        np.add.at(mixture, (self._class[serving], self._point[serving]), x[serving])
        share = mixture.sum(axis=1)
        means = served(self.tables, mixture)
        demand = float((load.rates * load.work_ratio)[self._class] * self._tokens @ x)
        capacity, total = plant.capacity, self._rates(load).sum()
        per_token = total / capacity  # converts correct answers per request and unit of load to those per token
        latency = float(_dual(self._waits) @ _value(self._line_slope)) * per_token
        bound = float(_dual(self._bounded)) * per_token
        floors = _dual(self._floors) if self._below is not None else np.zeros(classes)
        return Decision(
            threshold=means.threshold,
            budget=means.budget,
            shed=np.where(share > 0.0, np.maximum(1.0 - share, 0.0), 1.0),
            mixture=mixture,
            accuracy=means.accuracy,
            value=float(self._problem.objective.value),
            demand=demand,
            load=demand / capacity,
            in_system=self._users(load, plant, x, demand),
            prices=Prices(
                token=latency + bound,
                latency=latency,
                capacity=bound,
                floor=floors,
                threshold=_dual(self._falls) - _dual(self._rises),
                risk=0.0 if self._affords is None else float(_dual(self._affords)),
                cell=self._cell_price(per_token),
            ),
            slack=Slack(
                capacity=float(_missed(self._over)),
                floor=np.zeros(classes) if self._below is None else _missed(self._below, self._out_of_reach),
                threshold=_missed(self._fast),
            ),
            solver=solver,
            status=self._problem.status,
            solve_s=solve_s,
            charge=float((self._rates(load) / total)[self._class] * self._risks @ x),
        )


def _value(of: cp.Variable | cp.Parameter) -> Array:
    return np.asarray(of.value, dtype=np.float64)


def _dual(constraint: cp.Constraint) -> Array:
    return np.maximum(np.asarray(constraint.dual_value, dtype=np.float64), 0.0)


def _missed(slack: cp.Variable, anyway: Array | float = 0.0) -> Array:
    """Returns the slack, less what no solution can do `anyway`."""
    missed = _value(slack) - anyway
    return np.where(missed > 1e-6, missed, 0.0)  # an interior-point solver leaves residues
