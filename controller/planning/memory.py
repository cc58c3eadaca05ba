"""KV cells as a second resource: how many sequences memory leaves room for, chosen together with the points.

A request with prompt p that decodes W tokens holds C = p·W + W²/2 cells, added over its steps; so a running sequence
holds K̄ = Σ λ_d C_d·x_d / Σ λ_d κ_d W_d·x_d cells on average, and b of them fit into M cells if b·K̄ ≤ M. For each b
that is linear in x, and b is the plant's largest batch: N(D) and D_max follow. The shorter the thoughts, the larger the
batch; the best b is searched for, by the program's value. A batch that was the best at one solve is kept for the next
few, while the load is much the same. (By Little's law, where the batch is full, b·K̄ ≤ M says that the mean cells in
use, Σ λ_d C_d·x_d·τ(b), are at most M.)

An engine that holds cells from a sequence's start for all that it may become has room for M/E sequences of E cells,
whatever the points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from controller.load import Load
from controller.planning.decision import Decision
from controller.planning.joint_program import Optimizer
from controller.planning.objective import Objective
from controller.planning.room import Memory
from controller.risk.account import Allowance
from models.profile.plant import Plant
from models.profile.tables import OperatingTables

Array = npt.NDArray[np.float64]

KEPT = 4  # solves for which a batch that was found is kept, before others are tried again …
ALIKE = 0.15  # … unless the rate, a work ratio or the step time has changed by so large a share


class MemoryOptimizer:
    """The joint program for one profile's tables, under a memory or without. For one thread at a time."""

    def __init__(self, tables: OperatingTables, objective: Objective, *, clock: Callable[[], float]) -> None:
        self.tables = tables
        self.objective = objective
        self._clock = clock
        self._free = Optimizer(tables, objective, clock=clock)
        self._bound: Optimizer | None = None  # None: memory was never short
        self._batch = 0  # the last one found; 0: none was
        self._searched: tuple[Memory, Array] | None = None  # what it was found for; None: memory is not short
        self._kept = 0  # solves for which it was kept

    def solve(
        self,
        load: Load,
        plant: Plant,
        *,
        memory: Memory | None = None,
        previous: Decision | None = None,
        elapsed_s: float = 0.0,
        allowance: Allowance | None = None,
    ) -> Decision:
        """Returns the best mixture, and the batch that it leaves room for; `memory` None: as `Optimizer.solve`.

        Raises what that raises.
        """
        started = self._clock()

        def free(plant: Plant) -> Decision:
            return self._free.solve(load, plant, previous=previous, elapsed_s=elapsed_s, allowance=allowance)

        if memory is None or (memory.extent is None and self.tables.square is None):
            return free(plant)
        if memory.extent is not None:
            batch = memory.batch(plant.max_batch, memory.extent)
            found = replace(free(replace(plant, max_batch=batch)), cells=memory.extent)
            return found if batch == plant.max_batch else self._reserved(found, load, plant, batch, memory.extent)

        def at(batch: int) -> Decision:
            narrower, room = replace(plant, max_batch=batch), memory.cells / batch
            return self._program().solve(
                load, narrower, previous=previous, elapsed_s=elapsed_s, allowance=allowance, room=room
            )

        if (kept := self._keeps(load, plant, memory)) is not None:
            found = at(kept)
            if found.prices.cell > 0.0:
                self._kept += 1
                return self._told(found, load, plant, kept, started)
        start = self._batch if self._searched is not None and self._searched[0] == memory else None
        if start is None:  # memory was not short
            found = free(plant)
            held = mean_cells(self.tables, load, found)
            if held * plant.max_batch <= memory.cells:
                return replace(found, cells=held)
            start = memory.batch(plant.max_batch, held)
        batch, best = _highest(
            at, lambda one, batch: self._way(one, load, plant, batch), min(start, plant.max_batch), plant.max_batch
        )
        self._batch, self._searched, self._kept = batch, (memory, _pace(load, plant)), 0
        if batch == plant.max_batch and not best.prices.cell > 0.0:  # it is not short any more
            self._searched = None
            found = free(plant)
            return replace(found, cells=mean_cells(self.tables, load, found))
        return self._told(best, load, plant, batch, started)

    def _keeps(self, load: Load, plant: Plant, memory: Memory | None) -> int | None:
        """Returns the batch to try alone; None: others are to be tried, too."""
        if self._searched is None or self._kept >= KEPT or self._batch > plant.max_batch:
            return None
        (then, before), now = self._searched, _pace(load, plant)
        return self._batch if memory == then and (np.abs(now - before) <= ALIKE * before).all() else None

    def _told(self, found: Decision, load: Load, plant: Plant, batch: int, started: float) -> Decision:
        """Returns a decision with its batch, and with what a sequence holds."""
        priced = self._priced(found, load, plant, batch)
        cells = mean_cells(self.tables, load, found)
        return replace(priced, batch=batch, cells=cells, solve_s=self._clock() - started)

    def _way(self, found: Decision, load: Load, plant: Plant, batch: int) -> int:
        """Returns 1 if one sequence more than `batch` spares more waiting than its cells cost, −1 if one less does."""
        plants = [replace(plant, max_batch=b) for b in (max(1, batch - 1), batch, batch + 1)]
        demand = min(found.demand, self.objective.max_load * plants[0].capacity)
        waiting = [self.objective.latency_weight * one.in_system(demand) for one in plants]
        bound = [found.prices.capacity * self.objective.max_load * one.capacity for one in plants]
        cost = found.prices.cell * mean_cells(self.tables, load, found) * found.demand / batch
        fewer, more = (waiting[k] - waiting[k + 1] + bound[k + 1] - bound[k] for k in (0, 1))
        return 1 if more > cost else -1 if fewer < cost else 0

    def _program(self) -> Optimizer:
        if self._bound is None:
            self._bound = Optimizer(self.tables, self.objective, clock=self._clock, memory=True)
        return self._bound

    def _reserved(self, found: Decision, load: Load, plant: Plant, batch: int, extent: float) -> Decision:
        """Returns a decision with its batch, and the price of a cell: what one more sequence would spare."""
        if batch >= plant.max_batch or not found.demand > 0.0:
            return found
        found = self._priced(replace(found, batch=batch), load, plant, batch)
        steps = found.demand / batch / max(load.rate, self.objective.min_rate)  # decode steps a request, batch full
        return replace(found, prices=replace(found.prices, cell=found.prices.sequence / extent / steps))

    def _priced(self, found: Decision, load: Load, plant: Plant, batch: int) -> Decision:
        """Returns a decision with the price of memory for a sequence: what one more of them would spare a request."""
        here, wider = (replace(plant, max_batch=b) for b in (batch, batch + 1))
        demand = min(found.demand, self.objective.max_load * here.capacity)
        spared = max(0.0, here.in_system(demand) - wider.in_system(demand)) / max(load.rate, self.objective.min_rate)
        return replace(found, prices=replace(found.prices, sequence=self.objective.latency_weight * spared))


def mean_cells(tables: OperatingTables, load: Load, decision: Decision) -> float:
    """Returns the cells that a running sequence holds on average under a decision; 0 if nothing is served."""
    weight = load.mix[:, None] * decision.mixture
    steps = float((weight * load.work_ratio[:, None] * tables.tokens).sum())
    return float((weight * tables.cell_steps(load.work_ratio)).sum()) / steps if steps > 0.0 else 0.0


def _pace(load: Load, plant: Plant) -> Array:
    """Returns what a batch is chosen by: the rate, the work ratios, and the time of a full step."""
    step_s = plant.step_time.seconds(plant.max_batch, plant.context)
    return np.concatenate([[load.rate], load.work_ratio, [step_s]])


def _highest(
    at: Callable[[int], Decision], way: Callable[[Decision, int], int], start: int, most: int
) -> tuple[int, Decision]:
    """Returns a batch from 1 to `most` whose value is the highest on the way uphill from `start`, and its decision."""
    low, high, batch, step = 1, most, start, 1
    tried: dict[int, Decision] = {}
    while batch not in tried:
        tried[batch] = at(batch)
        to = way(tried[batch], batch)
        if to > 0:
            low = min(batch + 1, high)
        elif to < 0:
            high = max(batch - 1, low)
        else:
            break
        batch = min(max(batch + to * step, low), high)
        if len(tried) > 1 and low > 1 and high < most:
            batch = (low + high) // 2
        step *= 2
    while True:  # what one sequence more is worth at fixed points is not all: the points change, too
        best = max(tried, key=lambda one: tried[one].value)
        beside = [one for one in (best - 1, best + 1) if 1 <= one <= most and one not in tried]
        if not beside:
            return best, tried[best]
        tried |= {one: at(one) for one in beside}
