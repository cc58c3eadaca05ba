"""A decision as it is recorded, one JSON object, and the same decision worked out again from it.

Every object has all that its decision followed from: for a price that was looked up, the situation that the policy map
was solved for, since solving it again gives the same map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from controller.choice import Held
from controller.objective import Objective
from controller.plan import Plan
from controller.state import ControllerState, Rung
from models.quality import Profile


def record(
    state: ControllerState,
    *,
    quality: Profile,
    before: Held | None,
    held: Held,
    elapsed_s: float,
    floors: bool,
    plan: Plan | None,
    objective: Objective,
) -> dict[str, Any]:
    """What was decided and why. Lists are by class; a threshold above 1 is never probed for."""
    estimate, points = state.estimate, list(held.points)
    classes = np.arange(len(points))
    demand = float(estimate.load.rates * estimate.work_ratio @ quality.tokens[classes, points])
    planned = state.decision
    said: dict[str, Any] = {
        "time_s": state.time_s,
        "rate": estimate.rate,
        "rate_sigma": estimate.rate_sigma,
        "mix": estimate.mix.tolist(),
        "work_ratio": estimate.work_ratio.tolist(),
        "step_time": [estimate.step_time.a, estimate.step_time.c, estimate.step_time.g],
        "n": state.in_system,
        "rung": str(state.rung),
        "failed": bool(state.problems) or state.rung not in (Rung.POLICY_MAP, Rung.JOINT_PROGRAM),
        "price": state.price,
        "floors": floors,
        "slo_steps": None if state.slo_steps is None else list(state.slo_steps),
        "elapsed_s": elapsed_s,
        "before": None if before is None else asdict(before),
        "held": asdict(held),
        "threshold": [quality.points[k].threshold for k in points],
        "budget": [quality.points[k].budget for k in points],
        "accuracy": quality.accuracy[classes, points].tolist(),
        "shed": planned.shed.tolist() if planned is not None else [0.0] * len(points),
        "demand": demand,
        "in_system": float(planned.in_system) if planned is not None else float(state.in_system),
        "solve": state.solves.solved if state.rung is Rung.POLICY_MAP and plan is not None else None,
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
    if state.rung is Rung.POLICY_MAP and plan is not None:
        situation = plan.situation
        step, load = situation.plant.step_time, situation.load
        said["situation"] = {
            "rate": load.rate,
            "mix": load.mix.tolist(),
            "work_ratio": load.work_ratio.tolist(),
            "step_time": [step.a, step.c, step.g],
            "max_batch": situation.plant.max_batch,
            "context": situation.plant.context,
            "cv2": situation.plant.cv2,
            "rows": situation.rows,
            "objective": asdict(situation.objective),
        }
    return said


def held_of(said: Mapping[str, Any] | None) -> Held | None:
    """What was in force, from a record."""
    if said is None:
        return None
    target, pace, points = (tuple(_sequence(said[name])) for name in ("target", "pace", "points"))
    return Held(target=target, pace=pace, points=points)


def _sequence(value: object) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"is {value!r}, must be a list")
    return value
