"""Reads decision logs for an analysis: each decision, its source, the estimate behind it and its solve time.

`laser serve --decision-log` writes these logs as JSON Lines, one decision a line, lists by class in the profile's
order. Other keys of a decision are ignored. A decision without `solve` counts as a solve of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from controller.decision_log import old
from models.errors import LaserError
from models.profile.plant import StepTime


class LogError(LaserError, ValueError):
    """The log cannot be used; the message names the file, the line and the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One logged decision."""

    time_s: float  # on any monotonic clock
    rate: float  # requests/s, estimated
    mix: tuple[float, ...]  # share of each class, estimated
    work_ratio: tuple[float, ...]  # κ, estimated
    step_time: tuple[float, float, float]  # a, c and g, estimated
    threshold: tuple[float, ...]  # decided, by class; above 1: never probed
    budget: tuple[float, ...]  # decided, by class, thinking tokens
    accuracy: tuple[float, ...]  # expected of the requests served, by class
    shed: tuple[float, ...]  # share turned away
    demand: float  # tokens/s, expected
    in_system: float  # requests, expected
    rung: str  # the decision's source, a controller.status.DecisionSource
    failed: bool  # whether the controller reported a problem or used a fallback source
    solve_s: float  # wall-clock time of the solve behind the decision
    solve: int | None  # number of that solve, which many decisions may share; None: the decision used no solve

    def __post_init__(self) -> None:
        for name in ("time_s", "rate", "demand", "in_system", "solve_s"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}, must be finite")
        for name in ("rate", "demand", "in_system", "solve_s"):
            if getattr(self, name) < 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 0")
        StepTime(a=self.step_time[0], c=self.step_time[1], g=self.step_time[2])  # raises ValueError if invalid


def read_log(path: Path, classes: Sequence[str]) -> list[Entry]:
    """Returns the decisions in a log and in its rotated files, oldest first.

    A last line that was cut off while it was written is skipped. When the clock starts again because the server was
    restarted, times continue from the last decision before. Raises LogError if a file is unusable, or if there is no
    decision.
    """
    files = [path]
    while (older := old(path, len(files))).exists():
        files.append(older)
    entries: list[Entry] = []
    began_s, earlier, last_s = 0.0, 0, 0.0  # of the current server run: start, solves before it, last decision
    for file in reversed(files):
        for number, line in _lines(file):
            try:
                entry = _entry(json.loads(line), len(entries) + 1 - earlier, len(classes))
            except (ValueError, TypeError) as error:
                if not line.endswith("\n"):
                    break
                raise LogError(f"{file}:{number}: {error}") from error
            if entry.time_s < last_s:
                began_s, earlier = entries[-1].time_s - entry.time_s, max(one.solve or 0 for one in entries)
            last_s = entry.time_s
            solve = None if entry.solve is None else entry.solve + earlier
            entries.append(replace(entry, time_s=began_s + entry.time_s, solve=solve))
    if not entries:
        raise LogError(f"{path}: has no decisions")
    return entries


def _lines(file: Path) -> list[tuple[int, str]]:
    try:
        return list(enumerate(file.read_text(encoding="utf-8").splitlines(keepends=True), start=1))
    except OSError as error:
        raise LogError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LogError(f"{file}: is not UTF-8: {error.reason} at byte {error.start}") from error


def _entry(said: Any, number: int, classes: int) -> Entry:
    if not isinstance(said, dict):
        raise ValueError(f"is {json.dumps(said)[:40]}, must be an object")
    said = {"solve": number, **said}
    values: dict[str, Any] = {}
    for field in fields(Entry):
        if field.name not in said:
            raise ValueError(f"{field.name} is missing")
        value = said[field.name]
        if isinstance(value, list):
            expected = 3 if field.name == "step_time" else classes
            if len(value) != expected:
                raise ValueError(f"{field.name} has {len(value)} entries, must have {expected}")
            value = tuple(float(item) for item in value)
        values[field.name] = value
    return Entry(**values)
