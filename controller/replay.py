"""Replays a decision log: recomputes each decision from its recorded inputs and compares the results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from controller.decision_log import held_of, old
from controller.load import Load
from controller.planning.objective import Objective
from controller.planning.plan import price_at
from controller.planning.policy_map import PolicyMapper
from controller.selection import cheapest, choose, move
from controller.status import DecisionSource
from models.profile.plant import Plant, StepTime
from models.profile.profile import Profile

NEAR = 1e-3  # relative difference up to which prices are equal: a solver's optimum depends on its starting point


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The result of a replay."""

    decisions: int
    solves: int  # policy maps solved again
    price_error: float  # the largest relative difference between a recorded price and the recomputed one
    differing: tuple[int, ...]  # positions in the log of the decisions whose points differ when recomputed

    @property
    def same(self) -> bool:
        """Whether all points are equal and all prices are equal up to NEAR."""
        return not self.differing and self.price_error <= NEAR


def read_decisions(path: Path) -> Iterator[dict[str, Any]]:
    """Yields all decisions of a log and its older files, oldest first; leaves out a last line that was cut off.

    Raises ValueError naming file and line if any other line is not JSON.
    """
    older = [path]
    for number in count(1):
        if not (file := old(path, number)).exists():
            break
        older.append(file)
    for file in reversed(older):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                if number == len(lines) and not line.endswith("\n"):
                    break
                raise ValueError(f"{file}:{number}: {error}") from error


def replay(profile: Profile, decisions: Iterator[dict[str, Any]]) -> Replayed:
    """Solves every recorded solve request again, looks every price up again, and recomputes every decision's points."""
    tables = profile.tables()
    mappers: dict[tuple[Objective, int], PolicyMapper] = {}
    maps: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
    differing, worst, done = [], 0.0, 0
    for place, said in enumerate(decisions):
        done += 1
        objective = _objective(said["objective"])
        if said["rung"] == DecisionSource.SAFE_POINT:
            target = cheapest(tables)
        else:
            if said["rung"] == DecisionSource.POLICY_MAP:
                situation = said["situation"]
                key = json.dumps(situation, sort_keys=True)
                if key not in maps:
                    wanted = _objective(situation["objective"]), int(situation["rows"])
                    if wanted not in mappers:
                        mappers[wanted] = PolicyMapper(tables, wanted[0], rows=wanted[1], clock=lambda: 0.0)
                    maps[key] = mappers[wanted].solve(_load(situation), _plant(situation)).price
                price = price_at(maps[key].tolist(), said["n"])
                worst = max(worst, abs(price - said["price"]) / max(abs(said["price"]), 1e-12))
            before = held_of(said["before"])
            target = choose(
                tables,
                objective,
                price=said["price"],
                work_ratio=np.array(said["work_ratio"]),
                before=None if before is None else before.target,
                floors=said["floors"],
                steps=said.get("slo_steps"),
            )
        held = move(
            tables, objective, target=target, before=held_of(said["before"]), elapsed_s=float(said["elapsed_s"])
        )
        if held != held_of(said["held"]):
            differing.append(place)
    return Replayed(
        decisions=done,
        solves=len(maps),
        price_error=worst if math.isfinite(worst) else math.inf,
        differing=tuple(differing),
    )


def _objective(said: Mapping[str, Any]) -> Objective:
    by_class = {name: tuple(said.get(name, ())) for name in ("accuracy_floors", "slo_s")}
    return Objective(**{**said, **by_class})


def _load(said: Mapping[str, Any]) -> Load:
    return Load(rate=said["rate"], mix=np.array(said["mix"]), work_ratio=np.array(said["work_ratio"]))


def _plant(said: Mapping[str, Any]) -> Plant:
    a, c, g = said["step_time"]
    return Plant(
        step_time=StepTime(a=a, c=c, g=g), max_batch=said["max_batch"], context=said["context"], cv2=said["cv2"]
    )
