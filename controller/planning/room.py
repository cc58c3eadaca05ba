"""An engine's KV cache, and what a running sequence holds of it. Imports no solver."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.load import Load
from models.files.checks import at_least
from models.profile.tables import OperatingTables


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The KV cache of an engine."""

    cells: int  # tokens, of all sequences together
    extent: float | None = None  # cells that a sequence holds from its start; None: as many as it has tokens

    def __post_init__(self) -> None:
        at_least(self, 1, "cells")
        if self.extent is not None and not (math.isfinite(self.extent) and self.extent > 0.0):
            raise ValueError(f"extent is {self.extent} cells, must be finite and above 0")

    def batch(self, most: int, held: float) -> int:
        """Returns how many sequences of `held` cells fit, 1 at least and `most` at most."""
        return max(1, min(most, int(self.cells / held + 1e-9)))


def cells_of(tables: OperatingTables, load: Load, points: Sequence[int]) -> float:
    """Returns the cells that a running sequence holds on average, where each class has one point; 1 if unknown."""
    if tables.square is None:
        return 1.0
    classes, chosen = np.arange(len(points)), list(points)
    weight = load.mix * load.work_ratio * tables.tokens[classes, chosen]
    return float((load.mix * tables.cell_steps(load.work_ratio)[classes, chosen]).sum() / weight.sum())
