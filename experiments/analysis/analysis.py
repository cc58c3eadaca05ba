"""Runs a whole analysis and writes its figures to a JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from controller.decision_record import DecisionRecord
from experiments.analysis import checks, maps, sweep
from experiments.analysis.capacity import Capacity, MemoryAtRate, capacity, memory
from experiments.analysis.checks import Checks
from experiments.analysis.fronts import Front, Fronts, fronts
from experiments.analysis.levers import LeverWorth, lever_worth
from experiments.analysis.maps import Mapped, policy_maps
from experiments.analysis.misspecification import Misspecification, misspecification
from experiments.analysis.replay import LogReplay, replay
from experiments.analysis.situation import Situation
from experiments.analysis.sweep import RateSweep
from laser.version import VERSION
from models.files.replacement import replacing
from models.profile.tables import OperatingPoint

OF_A_DECISION = (
    "time_s", "rate", "mix", "work_ratio", "step_time", "threshold", "budget", "accuracy", "shed", "demand",
    "in_system", "rung", "failed", "solve_s", "solve",
)  # fmt: skip
"""The keys of a logged decision that are written with an analysis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """The results of one analysis of a profile, a plant and an objective."""

    fronts: Fronts
    levers: LeverWorth
    maps: Mapped
    sweep: RateSweep
    capacity: Capacity
    memory: tuple[MemoryAtRate, ...]  # by rate; empty: the situation names no cells
    checks: Checks
    misspecification: tuple[Misspecification, ...]
    replay: LogReplay | None  # of the decision log; None: no log was given


def effort(one: Situation, log: Sequence[DecisionRecord] | None) -> int:
    """Returns how many times `analyse` calls `advance`."""
    solves = maps.RATES + sweep.RATES + len(one.rates)
    return solves + len(checks.LOADS) + checks.RATES + 2 + (log is not None)


def analyse(
    one: Situation, log: Sequence[DecisionRecord] | None, *, clock: Callable[[], float], advance: Callable[[], None]
) -> Analysis:
    """Computes all parts of the analysis; `log` None: no replay. Raises SolverError if a program cannot be solved."""
    bears = capacity(one)
    highest = bears.sheds_from
    return Analysis(
        fronts=fronts(one),
        levers=lever_worth(one),
        maps=policy_maps(one, maps.grid(max(highest, max(one.rates))), clock, advance),
        sweep=sweep.sweep(one, sweep.grid(one, highest), clock, advance),
        capacity=bears,
        memory=memory(one, clock),
        checks=checks.checks(one, highest, clock, advance),
        misspecification=tuple(misspecification(one, clock, advance)),
        replay=None if log is None else replay(one, log, advance),
    )


def write_json(path: Path, one: Situation, found: Analysis, options: Mapping[str, object]) -> None:
    """Writes all figures with their provenance as JSON, except the policy table, which has its own file."""
    told = asdict(found)
    del told["maps"]["table"]
    for name in ("constant", "threshold", "joint"):
        front: Front = getattr(found.fronts, name)
        told["fronts"][name]["settings"] = [[_numbers(one, point) for point in row] for row in front.settings]
    if found.replay is not None:
        logged = [record.to_json() for record in found.replay.entries]
        told["replay"]["entries"] = [{name: one[name] for name in OF_A_DECISION} for one in logged]
    said = {
        "provenance": {
            "model": asdict(one.measured.model),
            "calibrated": one.measured.provenance.get("date"),
            "laser": VERSION,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "options": {name: _plain(value) for name, value in options.items()},
        },
        "situation": {
            "classes": one.tables.classes,
            "mix": one.mix.tolist(),
            "rates": one.rates,
            "points": [_numbers(one, point) for point in one.tables.points],
            "objective": asdict(one.objective),
            "plant": {
                "step_time": asdict(one.plant.step_time),
                "max_batch": one.plant.max_batch,
                "context": one.plant.context,
                "cv2": one.plant.cv2,
            },
        },
        **told,
    }
    with replacing(path) as draft:
        draft.write_text(json.dumps(said, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _numbers(one: Situation, point: OperatingPoint) -> dict[str, float]:
    threshold, budget = one.tables.numbers(point)
    return {"threshold": threshold, "budget": budget}


def _plain(value: object) -> object:
    return value.name if isinstance(value, Path) else value
