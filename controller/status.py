"""The controller's look-ups, and its status: one immutable value, replaced at every look-up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from controller.planning.decision import CellPrice, Decision
from controller.planning.objective import Objective
from controller.planning.plan import SolveRequest
from controller.policy import Limits
from controller.risk.account import RiskStatus
from controller.selection import Held

if TYPE_CHECKING:  # its import loads filterpy, which a server without a controller does not need
    from controller.estimation.estimator import LoadEstimate


MISSED = 1e-3  # accuracy below its floor from which a plan misses it: a mixture that is nearly there has met it


class DecisionSource(StrEnum):
    """What decided. The bisection stands in for a missing plan, the safe point for a failed bisection or look-up."""

    POLICY_MAP = "policy map"  # the price of the last policy map solved
    JOINT_PROGRAM = "joint program"  # the joint program's price, if the settings ask for it instead of the map's
    PRICE_BISECTION = "price bisection"  # on the tables, if there is no plan or it is too old
    SAFE_POINT = "safe point"  # each class's cheapest certified point


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecisionBasis:
    """What a look-up decides from."""

    source: DecisionSource
    price: float | None = None  # of a token, correct answers; None: safe point
    planned: Decision | None = None  # the decision planned for the mean over time; None: safe point
    request: SolveRequest | None = None  # what the policy map was solved for; None: the price is not a map's
    risk_price: float = 0.0  # correct answers that a unit of risk costs; 0: there is no account of risk
    cells: CellPrice | None = None  # what KV cells cost; None: nothing, memory does not bind now

    @property
    def floors(self) -> bool:
        """Whether accuracy floors apply: if the plan meets all of them; in an overload all are dropped together."""
        return self.planned is None or not bool((self.planned.slack.floor > MISSED).any())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LookUp:
    """One look-up: what was known, and what came into force."""

    in_system: int
    elapsed_s: float  # since the look-up before
    estimate: LoadEstimate
    objective: Objective
    basis: DecisionBasis
    slo_steps: tuple[float, ...] | None  # decode steps that each class's SLO leaves a request now; None: no SLO
    before: Held | None  # what was in force; None: this is the first look-up
    held: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Solves:
    """The solver's counts and times."""

    asked: int = 0
    solved: int = 0
    failed: int = 0
    waiting_s: float | None = None  # time that the controller has waited for an answer; None: it waits for none
    age_s: float | None = None  # of the last plan, since its request; None: no plan yet
    solve_s: float | None = None  # duration of the last solve; None: no plan yet
    error: str | None = None  # why the last answer was a failure; None: it was none


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ControllerStatus:
    """What was decided at the last look-up, and from what. Tuples are by class, in the profile's order."""

    time_s: float  # time that the controller has run, jumps of the clock left out
    classes: tuple[str, ...]
    in_system: int
    estimate: LoadEstimate
    source: DecisionSource
    limits: tuple[Limits, ...]
    target: tuple[Limits, ...]  # the limits that were chosen; rate-limited thresholds may still be on their way there
    price: float | None  # of a token, now, correct answers; None: safe point
    slo_s: tuple[float, ...]  # seconds within which 95 % of each class's requests are to end; empty: there is no SLO
    slo_steps: tuple[float, ...] | None  # decode steps that each class's SLO leaves a request now; None: no SLO
    decision: Decision | None  # the planned decision: prices of the constraints, expectations; None: no plan
    solves: Solves
    rejected: int  # impossible measurements
    jumps: int  # of the clock
    problems: tuple[str, ...]  # everything that is wrong, in words; empty: nothing is
    risk: RiskStatus | None = None  # the account of risk; None: there is none
