"""Precomputed limits for each arrival rate and number of requests in the system, for serving without a controller.

A file holds one table, with a checksum. A look-up between two of the table's rates uses the higher rate, and a number
of requests beyond the last row uses the last row.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_left
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from controller.policy import Limits
from models.errors import LaserError
from models.files.replacement import replacing

FORMAT = "laser-policy-table"
VERSION = 1

Thresholds = tuple[tuple[tuple[float | None, ...], ...], ...]
Budgets = tuple[tuple[tuple[int | None, ...], ...], ...]


class PolicyTableError(LaserError, ValueError):
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


def write_policy_table(path: Path, table: PolicyTable) -> None:
    """Writes the table to a file, whole or not at all."""
    payload = asdict(table)
    said = {"format": FORMAT, "version": VERSION, "sha256": _checksum(payload), "table": payload}
    with replacing(path) as draft:
        draft.write_text(json.dumps(said, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_policy_table(path: Path, weights_sha256: str | None = None) -> PolicyTable:
    """Reads the table in a file. Raises PolicyTableError if it is unusable, or of another model than `weights_sha256`.

    `weights_sha256` None: a table of any model.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyTableError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise PolicyTableError(f"{path}: is not JSON, or only a part of it: {error}") from error
    if not isinstance(said, dict) or (said.get("format"), said.get("version")) != (FORMAT, VERSION):
        raise PolicyTableError(f"{path}: is no {FORMAT} of version {VERSION}; run `laser analyze` again")
    if said.get("sha256") != _checksum(said.get("table")):
        raise PolicyTableError(f"{path}: sha256 is not that of its contents: it was damaged or edited")
    try:
        payload = said["table"]
        table = PolicyTable(
            weights_sha256=payload["weights_sha256"],
            classes=tuple(payload["classes"]),
            rates=tuple(payload["rates"]),
            thresholds=_tuples(payload["thresholds"]),
            budgets=_tuples(payload["budgets"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PolicyTableError(f"{path}: {error}") from error
    if weights_sha256 not in (None, table.weights_sha256):
        raise PolicyTableError(
            f"{path}: is of a model with weights_sha256 {table.weights_sha256}, must be {weights_sha256}; run "
            "`laser analyze` again"
        )
    return table


def _entries(table: tuple[tuple[tuple[Any, ...], ...], ...]) -> list[Any]:
    return [entry for row in table for columns in row for entry in columns]


def _tuples(table: Any) -> Any:
    return tuple(tuple(tuple(columns) for columns in row) for row in table)


def _checksum(payload: object) -> str:
    return hashlib.sha256(json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
