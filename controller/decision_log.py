"""Decisions as JSON Lines, in files of bounded size and number; a full or missing disk never stops serving.

The engine's thread only puts a decision on a queue; another thread writes it to the file. A decision that does not fit
on the queue is counted as lost.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from controller.planning.objective import Objective
from controller.planning.plan import Plan
from controller.selection import Held
from controller.status import ControllerStatus, DecisionSource
from models.profile.tables import OperatingTables

log = logging.getLogger(__name__)

WAITING = 1000  # decisions on the queue, at most


class DecisionLog:
    """Writes decisions to `path`; a full file becomes `path.1`, `path.1` becomes `path.2`, up to `keep` old files."""

    def __init__(self, path: Path, *, max_bytes: int = 8_000_000, keep: int = 8) -> None:
        if max_bytes < 1 or keep < 1:
            raise ValueError(f"max_bytes is {max_bytes} and keep {keep}, must be at least 1")
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._queue: queue.Queue[Mapping[str, Any] | None] = queue.Queue(WAITING)
        self._error: str | None = None
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="decision log", daemon=True)
        self._thread.start()

    def complaint(self) -> str | None:
        """Returns what is wrong now; None: nothing."""
        if self._error is None and not self._lost:
            return None
        return f"decision log: {self._error or 'it can be written again'}; {self._lost} decisions are lost"

    def __call__(self, decision: Mapping[str, Any]) -> None:
        """Records a decision. Returns at once and never raises."""
        try:
            self._queue.put_nowait(decision)
        except queue.Full:
            self._lost += 1

    def close(self, timeout_s: float = 5.0) -> None:
        """Writes the queued decisions and ends the thread; waits up to `timeout_s` each for queue and thread."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    # --- on the log's thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (decision := self._queue.get()) is not None:
            try:
                self._write(json.dumps(decision, separators=(",", ":")).encode() + b"\n")
            except (OSError, ValueError, TypeError) as error:
                self._lost += 1
                if self._error is None:  # logged once, not at every decision
                    log.warning("%s: a decision could not be recorded: %s", self.path, error)
                self._error = " ".join(str(error).split())
            else:
                self._error = None

    def _write(self, line: bytes) -> None:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size and size + len(line) > self._max_bytes:
            self._rotate()
        with self.path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            written = file.write(line)
            if written < len(line):  # the disk has just become full; half a line would spoil the next line
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _rotate(self) -> None:
        names = [self.path, *(old(self.path, number) for number in range(1, self._keep + 1))]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)


def old(path: Path, number: int) -> Path:
    """Returns the name of the file that became full `number` files ago."""
    return path.with_name(f"{path.name}.{number}")


def record(
    state: ControllerStatus,
    *,
    tables: OperatingTables,
    before: Held | None,
    held: Held,
    elapsed_s: float,
    floors: bool,
    plan: Plan | None,
    objective: Objective,
) -> dict[str, Any]:
    """Returns what was decided and why, as JSON. Lists are by class; a threshold above 1 stands for no probing."""
    estimate, points = state.estimate, list(held.points)
    classes = np.arange(len(points))
    demand = float(estimate.load.rates * estimate.work_ratio @ tables.tokens[classes, points])
    planned = state.decision
    said: dict[str, Any] = {
        "time_s": state.time_s,
        "rate": estimate.rate,
        "rate_sigma": estimate.rate_sigma,
        "mix": estimate.mix.tolist(),
        "work_ratio": estimate.work_ratio.tolist(),
        "step_time": [estimate.step_time.a, estimate.step_time.c, estimate.step_time.g],
        "n": state.in_system,
        "rung": str(state.source),
        "failed": bool(state.problems) or state.source not in (DecisionSource.POLICY_MAP, DecisionSource.JOINT_PROGRAM),
        "price": state.price,
        "floors": floors,
        "slo_steps": None if state.slo_steps is None else list(state.slo_steps),
        "elapsed_s": elapsed_s,
        "before": None if before is None else _held(before),
        "held": _held(held),
        "threshold": [tables.points[k].threshold for k in points],
        "budget": [tables.points[k].budget for k in points],
        "accuracy": tables.accuracy[classes, points].tolist(),
        "shed": planned.shed.tolist() if planned is not None else [0.0] * len(points),
        "demand": demand,
        "in_system": float(planned.in_system) if planned is not None else float(state.in_system),
        "solve": state.solves.solved if state.source is DecisionSource.POLICY_MAP and plan is not None else None,
        "solve_s": state.solves.solve_s or 0.0,
        "objective": asdict(objective),
        "problems": list(state.problems),
    }
    if planned is not None:
        prices = planned.prices
        said["shadow_prices"] = {
            "token": prices.token,
            "latency": prices.latency,
            "capacity": prices.capacity,
            "floor": prices.floor.tolist(),
            "threshold": prices.threshold.tolist(),
        }
    if state.source is DecisionSource.POLICY_MAP and plan is not None:
        request = plan.request
        step, load = request.plant.step_time, request.load
        said["situation"] = {
            "rate": load.rate,
            "mix": load.mix.tolist(),
            "work_ratio": load.work_ratio.tolist(),
            "step_time": [step.a, step.c, step.g],
            "max_batch": request.plant.max_batch,
            "context": request.plant.context,
            "cv2": request.plant.cv2,
            "rows": request.rows,
            "objective": asdict(request.objective),
        }
    return said


def _held(held: Held) -> dict[str, Any]:
    return {"target": held.target, "pace": held.threshold_now, "points": held.points}


def held_of(said: Mapping[str, Any] | None) -> Held | None:
    """Returns the Held of a record's entry; None for None. Raises ValueError if a part of it is not a list."""
    if said is None:
        return None
    target, thresholds, points = (tuple(_sequence(said[name])) for name in ("target", "pace", "points"))
    return Held(target=target, threshold_now=thresholds, points=points)


def _sequence(value: object) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"is {value!r}, must be a list")
    return value
