"""The outer loop's request to a solver, the plan that answers it, and the solver's interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from controller.load import Load
from controller.planning.decision import CellPrice, Decision
from controller.planning.objective import Objective
from controller.planning.room import Memory
from controller.risk.account import Allowance
from models.profile.plant import Plant, StepTime


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SolveRequest:
    """The load, plant and objective to solve for."""

    number: int  # grows by 1 with each request
    time_s: float  # when the request was sent, on the controller's own clock
    load: Load
    plant: Plant
    objective: Objective
    rows: int  # of the policy map
    allowance: Allowance | None = None  # of an account of risk; None: there is no account
    memory: Memory | None = None  # of the engine; None: it is not planned
    races: bool = True  # whether thoughts may race, where the tables have races

    def at(self, batch: int | None) -> SolveRequest:
        """Returns the request for a plant of so large a batch; None: for its own."""
        return self if batch is None else replace(self, plant=replace(self.plant, max_batch=batch))

    def differs(self, load: Load, step_time: StepTime, share: float) -> bool:
        """Whether the rate, a work ratio or the step time is another by more than `share` of what it was."""
        batch, context = self.plant.max_batch, self.plant.context
        then = [self.load.rate, *self.load.work_ratio, self.plant.step_time.seconds(batch, context)]
        now = [load.rate, *load.work_ratio, step_time.seconds(batch, context)]
        return any(abs(b - a) > share * a for a, b in zip(then, now, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Both programs' solutions: the policy map's prices, and the joint program's decision for the mean over time."""

    request: SolveRequest
    prices: tuple[float, ...]  # correct answers that a token costs the others, by requests in the system: 1, 2, …
    decision: Decision  # the joint optimum: floors, shadow prices, expected accuracy and load
    solve_s: float
    risk: float = 0.0  # correct answers per unit of risk that the map's allowance costs beyond the worth of kept risk

    @property
    def mapped(self) -> SolveRequest:
        """What the policy map was solved for: the request, with the batch that memory leaves room for."""
        return self.request.at(self.decision.batch)

    def price(self, in_system: int) -> float:
        """Returns the token price with `in_system` requests in the system."""
        return price_at(self.prices, in_system)

    def cells(self, in_system: int) -> CellPrice | None:
        """Returns the price of KV cells with `in_system` requests in the system; None: they cost nothing."""
        batch, memory = self.decision.batch, self.request.memory
        price = self.decision.prices.cell
        if batch is None or memory is None or memory.extent is not None or in_system <= batch or not price:
            return None
        return CellPrice(price=price, room=memory.cells / batch)


def price_at(prices: Sequence[float], in_system: int) -> float:
    """Returns the price of a token; beyond the last row it is proportional to the `in_system` requests kept waiting."""
    rows = len(prices)
    return float(prices[min(max(in_system, 1), rows) - 1]) * max(1.0, in_system / rows)


def enough_rows(least: int, max_batch: int) -> int:
    """Returns `least` rows, or twice the batch: a map turns away whoever comes in its last row.

    Were that before the batch is full, or soon after, the map would price places that are idle as if they were taken.
    """
    return max(least, 2 * max_batch)


class Solver(Protocol):
    """Takes solve requests and returns plans. Neither call blocks."""

    def ask(self, request: SolveRequest) -> None:
        """Has the request solved as soon as possible; it replaces a request that still waits."""

    def answer(self) -> Plan | Exception | None:
        """Returns the latest plan or failure since the last call; None: there is none yet."""
