"""A trial: one workload under one policy with one seed, and the requests that it is made of.

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

from experiments.trials.experiment import Experiment, NamedPolicy, NamedWorkload, RateUnit, slug

QUESTION_SEEDS = 10_000  # added to a trial's seed: other questions than calibration's and evaluation's


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One cell of an experiment's grid."""

    workload: NamedWorkload  # its rates in requests/s
    policy: NamedPolicy
    seed: int

    @property
    def slug(self) -> str:
        """Its name as a file's."""
        return f"{slug(self.workload.name, self.policy.name)}-{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requests:
    """When requests come, s, and the places of their questions in the trial's list."""

    times: npt.NDArray[np.float64]
    questions: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.times)


def trials(experiment: Experiment, capacity: float | None) -> Iterator[Trial]:
    """All cells; those that are to be compared with one another follow one another.

    `capacity`: requests/s that 1 stands for where rates are shares of it.
    """
    for workload, seed, policy in product(experiment.workloads, experiment.seeds, experiment.all_policies):
        yield Trial(workload=scaled(workload, experiment.rates, capacity), policy=policy, seed=seed)


def scaled(workload: NamedWorkload, unit: RateUnit, capacity: float | None) -> NamedWorkload:
    """The workload with its rates in requests/s. Raises ValueError where the capacity is not known."""
    if unit is RateUnit.REQUESTS:
        return workload
    if capacity is None:
        raise ValueError("rates are shares of the capacity, which needs a profile: `laser calibrate` measures it")
    rate = workload.arrivals.rate
    assert rate is not None, "an experiment with such rates has them"
    return replace(workload, arrivals=replace(workload.arrivals, rate=float(f"{rate * capacity:.6g}")))


def requests(experiment: Experiment, trial: Trial, pool: int) -> Requests:
    """The trial's requests: every one of `pool` questions in random order, and again in another."""
    name = np.frombuffer(trial.workload.name.encode(), dtype=np.uint8)
    rng = np.random.default_rng([trial.seed, *name.tolist()])
    times = trial.workload.arrivals.arrivals(experiment.duration_s, rng)
    rounds = [rng.permutation(pool) for _ in range(-(-len(times) // pool))]
    chosen = np.concatenate(rounds)[: len(times)] if rounds else np.zeros(0, dtype=np.int64)
    return Requests(times=times, questions=chosen)


def described(value: Any) -> Any:
    """A configuration as JSON has it; of files the name alone, for where they lie changes nothing."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        return kind | {field.name: described(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [described(item) for item in value]
    if isinstance(value, Path):
        return value.name
    return value.value if isinstance(value, Enum) else value
