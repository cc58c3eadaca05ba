"""What the outer loop asks of a solver, what it gets back, and who may answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.load import Load
from controller.planning.decision import Decision
from controller.planning.objective import Objective
from models.profile.plant import Plant


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SolveRequest:
    """What is to be solved for."""

    number: int  # grows with each
    time_s: float  # when it was asked, on the controller's own clock
    load: Load
    plant: Plant
    objective: Objective
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Both programs' solutions: prices to look up, and what the mean over all states comes to."""

    request: SolveRequest
    prices: tuple[float, ...]  # correct answers that a token costs the others, with 1, 2, … requests in the system
    decision: Decision  # the joint optimum: floors, shadow prices, expected accuracy and load
    solve_s: float

    def price(self, in_system: int) -> float:
        """With so many requests in the system."""
        return price_at(self.prices, in_system)


def price_at(prices: Sequence[float], in_system: int) -> float:
    """Beyond the last row a token's price grows with the number of those that it keeps waiting."""
    rows = len(prices)
    return float(prices[min(max(in_system, 1), rows) - 1]) * max(1.0, in_system / rows)


class Solver(Protocol):
    """Takes situations and gives plans, without ever keeping its caller waiting."""

    def ask(self, request: SolveRequest) -> None:
        """Solve this as soon as may be; one that still waits is forgotten."""

    def answer(self) -> Plan | Exception | None:
        """What has been solved since the last call, or how it failed; None: nothing yet."""
