"""The limits for each arrival rate and number of requests in the system, as `laser analyze` writes them.

A file holds one table, with a checksum. Nothing here reads it: it is for whoever serves without our controller. A
look-up between two of the table's rates should use the higher rate, and a number beyond the last row the last row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from controller.policy import Limits
from models.files.envelope import Envelope, Head

Thresholds = tuple[tuple[tuple[float | None, ...], ...], ...]
Budgets = tuple[tuple[tuple[int | None, ...], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTable:
    """Thresholds and budgets as [rate, row, class], rows for 1, 2, … requests in the system."""

    weights_sha256: str  # of the model that the table was computed for
    classes: tuple[str, ...]  # easiest first
    rates: tuple[float, ...]  # requests/s, rising
    thresholds: Thresholds  # confidences; None: never probed
    budgets: Budgets  # thinking tokens; None: no budget

    def __post_init__(self) -> None:
        if not self.rates or self.rates[0] < 0.0 or not all(map(math.isfinite, self.rates)):
            raise ValueError(f"rates are {self.rates}, must be finite, at least 0, and at least one")
        if any(b <= a for a, b in pairwise(self.rates)):
            raise ValueError(f"rates are {self.rates}, must rise")
        if not self.classes:
            raise ValueError("there are no classes, must be at least one")
        rows = len(self.thresholds[0]) if self.thresholds else 0
        for name, table in (("thresholds", self.thresholds), ("budgets", self.budgets)):
            shapes = {(len(row), len(columns)) for row in table for columns in row}
            if len(table) != len(self.rates) or shapes != {(rows, len(self.classes))}:
                raise ValueError(f"{name} has no entry for each of its rates, rows and classes")
        for limits in zip(_entries(self.thresholds), _entries(self.budgets), strict=True):
            Limits(threshold=limits[0], budget=limits[1])  # raises ValueError for invalid limits

    @property
    def rows(self) -> int:
        """The number of requests in the system that the last row is for."""
        return len(self.thresholds[0])


_FILE = Envelope(
    head=Head(format="laser-policy-table", version=1),
    key="table",
    into=PolicyTable,
    made_by="laser analyze",
    error=ValueError,
)


def write_policy_table(path: Path, table: PolicyTable) -> None:
    """Writes the table to a file, whole or not at all."""
    _FILE.write(path, table)


def _entries(table: tuple[tuple[tuple[Any, ...], ...], ...]) -> list[Any]:
    return [entry for row in table for columns in row for entry in columns]
