"""Precomputed limits for each arrival rate and number of requests in the system, for serving without a controller.

A file holds one table, with a checksum. A look-up between two of the table's rates uses the higher rate, and a number
of requests beyond the last row uses the last row.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from controller.policy import Limits
from models.files.envelope import Envelope, Head

Thresholds = tuple[tuple[tuple[float | None, ...], ...], ...]
Budgets = tuple[tuple[tuple[int | None, ...], ...], ...]


class PolicyTableError(ValueError):
    """The table cannot be used; the message names the file, the value found and the value needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTable:
    """Thresholds and budgets as [rate, row, class], rows for 1, 2, … requests in the system."""

    weights_sha256: str  # of the model that the table was computed for
    classes: tuple[str, ...]  # easiest first
    rates: tuple[float, ...]  # requests/s, rising
    thresholds: Thresholds  # None: never probed
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

    def limits(self, rate: float, in_system: int, difficulty: str | None) -> Limits:
        """Returns the limits at this arrival rate, requests/s, with `in_system` requests in the system.

        `difficulty` None: unknown, the hardest class's limits. Raises ValueError for a class that the table lacks.
        """
        if difficulty is not None and difficulty not in self.classes:
            raise ValueError(f"difficulty is {difficulty!r}, must be one of {', '.join(self.classes)}")
        place = min(bisect_left(self.rates, rate), len(self.rates) - 1)
        row = min(max(in_system, 1), self.rows) - 1
        d = len(self.classes) - 1 if difficulty is None else self.classes.index(difficulty)
        return Limits(threshold=self.thresholds[place][row][d], budget=self.budgets[place][row][d])


_FILE = Envelope(
    head=Head(format="laser-policy-table", version=1),
    key="table",
    into=PolicyTable,
    made_by="laser analyze",
    error=PolicyTableError,
)


def write_policy_table(path: Path, table: PolicyTable) -> None:
    """Writes the table to a file, whole or not at all."""
    _FILE.write(path, table)


def read_policy_table(path: Path, weights_sha256: str | None = None) -> PolicyTable:
    """Reads the table in a file. Raises PolicyTableError if it is unusable, or of another model than `weights_sha256`.

    `weights_sha256` None: a table of any model.
    """
    table = _FILE.read(path)
    if weights_sha256 not in (None, table.weights_sha256):
        raise PolicyTableError(
            f"{path}: is of a model with weights_sha256 {table.weights_sha256}, must be {weights_sha256}; run "
            "`laser analyze` again"
        )
    return table


def _entries(table: tuple[tuple[tuple[Any, ...], ...], ...]) -> list[Any]:
    return [entry for row in table for columns in row for entry in columns]
