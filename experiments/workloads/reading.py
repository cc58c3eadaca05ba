"""Reads workloads from YAML: the key `kind` selects the class, the other keys are its fields."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias, cast

from experiments.workloads.modulated import Diurnal, FlashCrowd, Mmpp, Step
from experiments.workloads.recorded import Rates, Trace
from experiments.workloads.renewal import Gamma, Poisson
from experiments.workloads.workload import Workload
from models.files.strict_yaml import read

AnyWorkload: TypeAlias = Poisson | Gamma | Mmpp | Step | Diurnal | FlashCrowd | Trace | Rates
"""As the type of a field, it makes models.files.strict_yaml accept any workload there."""


def read_workload(path: Path) -> Workload:
    """Reads the workload in a YAML file. Raises ConfigError if the file is invalid."""
    return read(path, cast("type[Workload]", AnyWorkload))
