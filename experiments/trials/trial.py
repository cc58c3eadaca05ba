"""A trial: one workload under one policy with one seed, and its requests.

Requests depend on workload and seed alone, so all policies get the same ones at the same times (common random numbers).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from controller.policies.registry import FLAT
from controller.risk.account import RiskSettings
from experiments.question import in_rounds
from experiments.trials.experiment import Experiment, NamedPolicy, NamedWorkload, RateUnit, slug

QUESTION_SEEDS = 10_000  # added to a trial's seed: avoids the questions of calibration and evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One cell of an experiment's grid."""

    workload: NamedWorkload  # with rates in requests/s
    policy: NamedPolicy
    seed: int

    @property
    def slug(self) -> str:
        """The trial's name as the stem of a file name."""
        return f"{slug(self.workload.name, self.policy.name)}-{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requests:
    """Arrival times, s, and the indices of the requests' questions in the trial's list."""

    times: npt.NDArray[np.float64]
    questions: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.times)


def trials(experiment: Experiment, capacity: float | None) -> Iterator[Trial]:
    """Yields all cells of the grid; the cells that are compared with one another are consecutive.

    `capacity`: the requests/s of rate 1 if rates are shares of it; None: unknown, and such rates raise ValueError.
    """
    for workload, seed, policy in product(experiment.workloads, experiment.seeds, experiment.all_policies):
        yield Trial(workload=scaled(workload, experiment.rates, capacity), policy=policy, seed=seed)


def scaled(workload: NamedWorkload, unit: RateUnit, capacity: float | None) -> NamedWorkload:
    """Returns the workload with its rate in requests/s.

    Raises ValueError if the rate is a share of the capacity and `capacity` is None: unknown.
    """
    if unit is RateUnit.REQUESTS:
        return workload
    if capacity is None:
        raise ValueError("rates are shares of the capacity, which needs a profile: `laser calibrate` measures it")
    rate = workload.arrivals.rate
    assert rate is not None, "an experiment with such rates has them"
    return replace(workload, arrivals=replace(workload.arrivals, rate=float(f"{rate * capacity:.6g}")))


def requests(experiment: Experiment, trial: Trial, pool: int) -> Requests:
    """Returns the trial's requests: all `pool` questions in random order, then again in another order, and so on."""
    rng = drawing(trial)
    times = trial.workload.arrivals.arrivals(experiment.duration_s, rng)
    return Requests(times=times, questions=in_rounds(pool, len(times), rng))


def drawing(trial: Trial) -> np.random.Generator:
    """Returns what draws the trial's requests, the arrival times first."""
    name = np.frombuffer(trial.workload.name.encode(), dtype=np.uint8)
    return np.random.default_rng([trial.seed, *name.tolist()])


LATER: dict[str, Any] = {
    "risk_peak": None, "give_up": False, "price_index": False, "no_thought": False, "width": False,
    "worst_benchmark": False,
}  # fmt: skip
"""Settings of policies that came after the first stored trials, and the values at which a policy is what it was."""


def described(value: Any) -> Any:
    """Returns a configuration as JSON; paths keep only the file name, because the directory does not affect results."""
    if isinstance(value, NamedPolicy):
        return _named(value)
    if is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        return kind | {field.name: described(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [described(item) for item in value]
    if isinstance(value, Path):
        return value.name
    return value.value if isinstance(value, Enum) else value


CONTROLLER_LATER: dict[str, Any] = {"memory": False, "account": described(RiskSettings())}
"""The same of the controller's settings."""


def _named(policy: NamedPolicy) -> dict[str, Any]:
    """Returns a named policy as stored trials describe it: its kind as `policy`, settings beside it, others null."""
    settings = {name: value for name, value in described(policy.policy).items() if name != "kind"}
    return {
        "name": policy.name,
        "policy": policy.kind,
        **_without({**dict.fromkeys(FLAT), **settings}, LATER),
        "shortest_first": policy.shortest_first,
        "oracle": policy.oracle,
        "controller": _without(described(policy.controller), CONTROLLER_LATER),
    }


def _without(told: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Returns settings without those of `later` that have the value given there."""
    return {name: value for name, value in told.items() if name not in later or value != later[name]}
