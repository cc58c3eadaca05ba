"""What the controller shows of itself: one immutable value, replaced at every look-up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from controller.estimation.estimator import LoadEstimate
from controller.planning.decision import Decision
from controller.policy import Limits


class DecisionSource(StrEnum):
    """Who decided: each stands in where the one before it cannot."""

    POLICY_MAP = "policy map"  # the last one solved
    JOINT_PROGRAM = "joint program"  # its price, where the settings ask for it instead of the map's
    PRICE_BISECTION = "price bisection"  # on the tables, when there is no map or it is too old
    SAFE_POINT = "safe point"  # each class's cheapest certified point


@dataclass(frozen=True, slots=True, kw_only=True)
class Solves:
    """How the solver does."""

    asked: int = 0
    solved: int = 0
    failed: int = 0
    waiting_s: float | None = None  # for an answer; None: nothing is asked
    age_s: float | None = None  # of the last plan, since it was asked for
    solve_s: float | None = None  # it took
    error: str | None = None  # of the last answer, if it was a failure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ControllerStatus:
    """Lists are by class, in the profile's order."""

    time_s: float  # that the controller has run, jumps of the clock left out
    classes: tuple[str, ...]
    in_system: int
    estimate: LoadEstimate
    source: DecisionSource
    limits: tuple[Limits, ...]
    target: tuple[Limits, ...]  # where the rate limit lets thresholds go
    price: float | None  # of a token, now, correct answers; None at the safe point
    slo_s: tuple[float, ...]  # within which 95 % of each class's requests are to end; empty: there is no SLO
    slo_steps: tuple[float, ...] | None  # decode steps that each class's SLO leaves a request now; None: there is none
    decision: Decision | None  # what was planned: prices of the constraints, expectations
    solves: Solves
    rejected: int  # measurements that could not be
    jumps: int  # of the clock
    problems: tuple[str, ...]  # what is not as it should be, in words; empty: all is well
