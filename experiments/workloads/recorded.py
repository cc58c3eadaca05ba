"""Arrivals recorded by a production service: times of single requests, or rates over a day."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from experiments.workloads.renewal import gamma_renewals
from experiments.workloads.workload import Times, WorkloadError, check, check_duration

RATE_COLUMNS = ("time_s", "rate_per_s", "mean_client_cv")  # of ServeGen's rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The arrivals in a file: CSV with a header, as Azure's traces, or JSON Lines.

    The arrivals begin at a random request, and start again from the first after the last. To change the rate, time is
    stretched: the gaps keep their order and their coefficient of variation.
    """

    kind: ClassVar[str] = "trace"

    path: Path
    rate: float | None = None  # requests/s, the mean over the file; None: as recorded
    field: str = "timestamp"  # column or key of the time, in upper or lower case: seconds, or a date and time

    def __post_init__(self) -> None:
        if self.rate is not None:
            check("rate", self.rate, above=0.0)
        check_file(self.path)

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        gaps = np.diff(self._times())
        gaps = np.append(gaps, gaps.mean())  # between the last request of a round and the first of the next
        rate = 1.0 / float(gaps.mean())
        if self.rate is not None:
            gaps, rate = gaps * (rate / self.rate), self.rate
        check_duration(duration_s, rate)
        start = int(rng.integers(gaps.size))
        offset = rng.uniform() * gaps[start - 1]
        rounds = 1 + math.ceil((duration_s + offset) / float(gaps.sum()))
        times = np.concatenate(([0.0], np.cumsum(np.tile(np.roll(gaps, -start), rounds)))) + offset
        return np.asarray(times[times < duration_s])

    def _times(self) -> Times:
        times = []
        for number, row in rows(self.path):
            said = next((value for key, value in row.items() if key.lower() == self.field.lower()), None)
            if said is None:
                if tuple(row) == RATE_COLUMNS:
                    raise WorkloadError(f"{self.path}: is a table of rates, must have kind {Rates.kind}")
                raise WorkloadError(f"{self.path}:{number}: has no {self.field!r}, but {', '.join(map(repr, row))}")
            times.append(_seconds(said, f"{self.path}:{number}: {self.field}"))
        ordered = np.sort(np.array(times))
        if ordered.size < 2 or ordered[0] == ordered[-1]:
            raise WorkloadError(f"{self.path}: has {np.unique(ordered).size} different times, must have at least 2")
        return ordered


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """A day's rates and burstiness in a CSV file, as ServeGen's: arrivals are a gamma process that follows both.

    The day repeats. The columns are time_s, rate_per_s and mean_client_cv, the coefficient of variation of the gaps.
    """

    kind: ClassVar[str] = "rates"

    path: Path
    rate: float | None = None  # requests/s, the mean over the day; None: as recorded
    period_s: float | None = None  # length that the day is scaled to; None: as recorded

    def __post_init__(self) -> None:
        for name in ("rate", "period_s"):
            if (value := getattr(self, name)) is not None:
                check(name, value, above=0.0)
        check_file(self.path)

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        table = self._table()
        starts, rates, cvs = table.T
        widths = np.append(np.diff(starts), starts[-1] - starts[-2])
        if self.period_s is not None:
            widths = widths * (self.period_s / widths.sum())
        if self.rate is not None:
            rates = rates * (self.rate * widths.sum() / float(rates @ widths))
        check_duration(duration_s, float(rates.max()))
        parts, begin, place = [], 0.0, 0
        while begin < duration_s:
            width, rate, cv = widths[place], rates[place], cvs[place]
            if rate > 0.0:
                parts.append(begin + gamma_renewals(width * rate, cv, rng) / rate)
            begin += width
            place = (place + 1) % widths.size
        times = np.concatenate(parts) if parts else np.zeros(0)
        return times[times < duration_s]

    def _table(self) -> Times:
        """Reads the table [interval, (start s, requests/s, cv)]. Raises WorkloadError if the table is invalid."""
        found: list[tuple[float, float, float]] = []
        for number, row in rows(self.path):
            where = f"{self.path}:{number}"
            if missing := [name for name in RATE_COLUMNS if name not in row]:
                raise WorkloadError(f"{where}: has no {missing[0]!r}, but {', '.join(map(repr, row))}")
            start, rate, cv = (_number(row[name], f"{where}: {name}") for name in RATE_COLUMNS)
            check(f"{where}: rate_per_s", rate, least=0.0)
            check(f"{where}: mean_client_cv", cv, above=0.0)
            if found and start <= found[-1][0]:
                raise WorkloadError(f"{where}: time_s is {start:g}, must be above {found[-1][0]:g}, that before it")
            found.append((start, rate, cv))
        if len(found) < 2 or not any(rate for _, rate, _ in found):
            raise WorkloadError(f"{self.path}: has {len(found)} rates, must have at least 2, and one above 0")
        return np.array(found)


def check_file(path: Path) -> None:
    """Raises WorkloadError if there is no such file, at configuration instead of at first use."""
    if not path.is_file():
        raise WorkloadError(f"{path}: there is no such file")


def rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yields the rows of a CSV file with a header, or of a JSON Lines file, with their line numbers.

    Raises WorkloadError if the file cannot be read or parsed.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".csv":
                reader = csv.DictReader(file)
                for row in reader:
                    if None in row or None in row.values():
                        raise WorkloadError(
                            f"{path}:{reader.line_num}: must have {len(reader.fieldnames or ())} values, as its header"
                        )
                    yield reader.line_num, row
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    said = json.loads(line)
                    if not isinstance(said, dict):
                        raise WorkloadError(f"{path}:{number}: is {line.strip()[:40]!r}, must be an object")
                    yield number, said
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise WorkloadError(f"{path}: is not CSV in UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise WorkloadError(f"{path}:{number}: is not JSON: {error}") from error


def _number(said: Any, where: str) -> float:
    try:
        value = float(said)
    except (TypeError, ValueError):
        raise WorkloadError(f"{where} is {said!r}, must be a number") from None
    if not math.isfinite(value):
        raise WorkloadError(f"{where} is {said!r}, must be finite")
    return value


def _seconds(said: Any, where: str) -> float:
    """Parses a time in seconds, or a date and time (without a zone: UTC). Raises WorkloadError if it is neither."""
    try:
        return _number(said, where)
    except WorkloadError:
        try:
            moment = datetime.fromisoformat(said)
        except (TypeError, ValueError):
            raise WorkloadError(f"{where} is {said!r}, must be seconds or a date and time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
