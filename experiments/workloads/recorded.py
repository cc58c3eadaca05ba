"""Arrivals recorded by a production service: times of single requests, or rates over a day."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from experiments.workloads.renewal import gamma_renewals
from experiments.workloads.workload import Times, Workload, WorkloadError, check, check_duration
from models.files.text import json_objects, reading, unpacked


class TimeUnit(StrEnum):
    """The unit of the numbers that stand for times in a file."""

    SECONDS = "s"  # seconds
    MILLISECONDS = "ms"  # milliseconds
    MICROSECONDS = "us"  # microseconds
    NANOSECONDS = "ns"  # nanoseconds

    @property
    def seconds(self) -> float:
        return {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[self.value]


LEAST_RATE, MOST_RATE = 0.02, 1_000.0  # requests/s, the mean of a trace whose unit is taken to be seconds
MANY, WHOLE_RATE = 100, 1.0  # so many whole numbers with fewer requests/s may be milliseconds just as well
LONGEST_INTERVAL_S = 3_600.0  # of a table of rates whose unit is taken to be seconds, the median
LATEST_S = 1e11  # a time is at most so far from 0: the year 5138, where times count from 1970


class RateColumn(StrEnum):
    """A column of a table of rates, in ServeGen's names."""

    TIME = "time_s"  # beginning of the interval, rising from row to row
    RATE = "rate_per_s"  # requests/s in the interval
    CV = "mean_client_cv"  # coefficient of variation of the gaps between requests


RATE_COLUMNS = tuple(column.value for column in RateColumn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The arrivals in a file: CSV with a header, as Azure's traces, or JSON Lines.

    The arrivals begin at a random request, and start again from the first after the last. With `repeat: false` they
    begin at a random time from which the file lasts as long as the run, else at its start, and end with it. To change
    the rate, time is stretched: the gaps keep their order and their coefficient of variation. Numbers are seconds
    unless `unit` says otherwise; if it says nothing and neither does `rate`, numbers that mean an implausible rate are
    refused, and many whole ones of a low rate.
    """

    kind: ClassVar[str] = "trace"

    path: Path  # the file: CSV with a header or JSON Lines, plain or in gzip
    rate: float | None = None  # requests/s, the mean over the file; None: as recorded
    field: str = "timestamp"  # column or key of the time, in upper or lower case: a number, or a date and time
    unit: TimeUnit | None = None  # unit of the file's numbers; None: not stated, seconds
    repeat: bool = True  # the file comes round again in a run that is longer; false: the run ends with it

    def __post_init__(self) -> None:
        if self.rate is not None:
            check("rate", self.rate, above=0.0)
        check_file(self.path)

    @property
    def lasts_s(self) -> float:
        """Seconds from the first request to the last."""
        return float(self._gaps().sum())

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        gaps = self._gaps()
        check_duration(duration_s, 1.0 / float(gaps.mean()))
        if not self.repeat:
            at = np.concatenate(([0.0], np.cumsum(gaps)))
            at = at - rng.uniform(0.0, max(0.0, float(at[-1]) - duration_s))
            return np.asarray(at[(at >= 0.0) & (at < duration_s)])
        gaps = np.append(gaps, gaps.mean())  # between the last request of a round and the first of the next
        start = int(rng.integers(gaps.size))
        offset = rng.uniform() * gaps[start - 1]
        rounds = 1 + math.ceil((duration_s + offset) / float(gaps.sum()))
        times = np.concatenate(([0.0], np.cumsum(np.tile(np.roll(gaps, -start), rounds)))) + offset
        return np.asarray(times[times < duration_s])

    def _gaps(self) -> Times:
        """Returns the seconds from request to request, at the rate wanted."""
        gaps = np.diff(self._times())
        return gaps if self.rate is None else gaps * (1.0 / float(gaps.mean()) / self.rate)

    def _times(self) -> Times:
        """Returns the sorted times in seconds. Raises WorkloadError if the file is invalid, or its unit implausible."""
        times, numbers, whole = [], False, True
        for number, row in rows(self.path):
            said = next((value for key, value in row.items() if key.lower() == self.field.lower()), None)
            if said is None:
                if tuple(row) == RATE_COLUMNS:
                    raise WorkloadError(f"{self.path}: is a table of rates, must have kind {Rates.kind}")
                raise WorkloadError(f"{self.path}:{number}: has no {self.field!r}, but {', '.join(map(repr, row))}")
            where = f"{self.path}:{number}: {self.field}"
            moment = _moment(said)
            numbers = numbers or moment is None
            times.append(_seconds(said, self.unit, where) if moment is None else moment)
            whole = whole and moment is None and times[-1].is_integer()
        ordered = np.sort(np.array(times))
        if ordered.size < 2 or ordered[0] == ordered[-1]:
            raise WorkloadError(f"{self.path}: has {np.unique(ordered).size} different times, must have at least 2")
        rate = (ordered.size - 1) / float(ordered[-1] - ordered[0])
        if numbers and self.unit is None and self.rate is None and not LEAST_RATE <= rate <= MOST_RATE:
            raise WorkloadError(
                f"{self.path}: read as seconds, {self.field} gives {rate:.3g} requests/s, and {LEAST_RATE:g} to "
                f"{MOST_RATE:g} are plausible: state `unit:`, one of {', '.join(TimeUnit)}"
            )
        if whole and self.unit is None and self.rate is None and ordered.size >= MANY and rate < WHOLE_RATE:
            raise WorkloadError(
                f"{self.path}: {self.field} has {ordered.size} whole numbers that give {rate:.3g} requests/s as "
                f"seconds, and may be milliseconds: state `unit:`, one of {', '.join(TimeUnit)}"
            )
        return ordered


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """A day's rates and burstiness in a CSV file, as ServeGen's: arrivals are a gamma process that follows both.

    The day begins with the run and repeats. The columns are time_s, rate_per_s and mean_client_cv, the coefficient of
    variation of the gaps.
    """

    kind: ClassVar[str] = "rates"

    path: Path  # the CSV file, plain or in gzip
    rate: float | None = None  # requests/s, the mean over the day; None: as recorded
    period_s: float | None = None  # length that the day is scaled to; None: as recorded
    # unit of time_s, for files that do not keep to their header; None: not stated, seconds
    unit: TimeUnit | None = None
    repeat: bool = True  # the day comes round again in a run that is longer; false: the run ends with it

    def __post_init__(self) -> None:
        for name in ("rate", "period_s"):
            if (value := getattr(self, name)) is not None:
                check(name, value, above=0.0)
        check_file(self.path)

    @property
    def lasts_s(self) -> float:
        """Seconds of the day."""
        return float(self._widths(self._table()).sum())

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        table = self._table()
        _, rates, cvs = table.T
        widths = self._widths(table)
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
            if place == 0 and not self.repeat:
                break
        times = np.concatenate(parts) if parts else np.zeros(0)
        return times[times < duration_s]

    def _widths(self, table: Times) -> Times:
        """Returns the seconds that each rate of the table holds for."""
        starts = table[:, 0]
        widths = np.append(np.diff(starts), starts[-1] - starts[-2])
        return widths if self.period_s is None else widths * (self.period_s / widths.sum())

    def _table(self) -> Times:
        """Reads the table [interval, (start s, requests/s, cv)]. Raises WorkloadError if the table is invalid."""
        found: list[tuple[float, float, float]] = []
        for number, row in rows(self.path):
            where = f"{self.path}:{number}"
            if missing := [name for name in RATE_COLUMNS if name not in row]:
                raise WorkloadError(f"{where}: has no {missing[0]!r}, but {', '.join(map(repr, row))}")
            start = _seconds(row["time_s"], self.unit, f"{where}: time_s", dates=False)
            rate, cv = (_number(row[name], f"{where}: {name}") for name in RATE_COLUMNS[1:])
            check(f"{where}: rate_per_s", rate, least=0.0)
            check(f"{where}: mean_client_cv", cv, above=0.0)
            if found and start <= found[-1][0]:
                raise WorkloadError(f"{where}: time_s is {start:g}, must be above {found[-1][0]:g}, that before it")
            found.append((start, rate, cv))
        if len(found) < 2 or not any(rate for _, rate, _ in found):
            raise WorkloadError(f"{self.path}: has {len(found)} rates, must have at least 2, and one above 0")
        table = np.array(found)
        between = float(np.median(np.diff(table[:, 0])))
        if self.unit is None and self.period_s is None and between > LONGEST_INTERVAL_S:
            raise WorkloadError(
                f"{self.path}: read as seconds, time_s has {between:g} s from row to row, and at most "
                f"{LONGEST_INTERVAL_S:g} s are plausible: state `unit:`, one of {', '.join(TimeUnit)}"
            )
        return table


def lasting_s(workload: Workload, duration_s: float) -> float:
    """Returns the seconds of a run in which requests arrive: fewer than `duration_s` if it ends with a file."""
    if isinstance(workload, Trace | Rates) and not workload.repeat:
        return min(duration_s, workload.lasts_s)
    return duration_s


def too_short(workload: Workload, duration_s: float) -> str | None:
    """Returns what becomes of a run that is longer than the file of its arrivals; None: there is no such file.

    Raises WorkloadError if the file is invalid.
    """
    if not isinstance(workload, Trace | Rates):
        return None
    lasts = workload.lasts_s  # reads the file
    if lasts >= duration_s:
        return None
    said = f"{workload.path} has arrivals for {lasts:.4g} s, the run is to take {duration_s:.4g} s: "
    if workload.repeat:
        times = f"{duration_s / lasts:.1f}"
        return said + f"they come round, {times} times in all; with `repeat: false` the run ends with them"
    return said + "it ends with them, as `repeat: false` says"


def check_file(path: Path) -> None:
    """Raises WorkloadError if there is no such file, at configuration instead of at first use."""
    if not path.is_file():
        raise WorkloadError(f"{path}: there is no such file")


def rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yields the rows of a CSV file with a header, or of a JSON Lines file, with their line numbers.

    The file may be packed with gzip. Raises WorkloadError if it cannot be read or parsed.
    """
    with reading(path, WorkloadError) as file:
        yield from (
            _csv(path, file) if unpacked(path).suffix.lower() == ".csv" else json_objects(path, file, WorkloadError)
        )


def _csv(path: Path, file: Iterator[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(file)
    try:
        names = reader.fieldnames or ()
        if twice := next((name for name in names if list(names).count(name) > 1), None):
            raise WorkloadError(f"{path}:1: has the column {twice!r} twice, must have it once")
        for row in reader:
            if None in row or None in row.values():
                raise WorkloadError(f"{path}:{reader.line_num}: must have {len(names)} values, as its header")
            yield reader.line_num, row
    except csv.Error as error:
        raise WorkloadError(f"{path}:{reader.line_num}: is not CSV: {error}") from error


def _number(said: Any, where: str) -> float:
    try:
        if isinstance(said, bool):
            raise TypeError
        value = float(said)
    except (TypeError, ValueError):
        raise WorkloadError(f"{where} is {repr(said)[:40]}, must be a number") from None
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise WorkloadError(f"{where} is {repr(said)[:40]}, must be finite")
    return value


def _moment(said: Any) -> float | None:
    """Returns a date and time (without a zone: UTC) in seconds since 1970; None: it is none."""
    try:
        if str(said).strip().isdigit():  # 20240101 is a number rather than a date
            return None
        moment = datetime.fromisoformat(said)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _seconds(said: Any, unit: TimeUnit | None, where: str, *, dates: bool = True) -> float:
    """Returns a number of some unit in seconds. Raises WorkloadError if it is no number or out of range."""
    try:
        value = _number(said, where)
    except WorkloadError:
        if not dates:
            raise
        raise WorkloadError(f"{where} is {repr(said)[:40]}, must be seconds or a date and time") from None
    seconds = value * (unit or TimeUnit.SECONDS).seconds
    if abs(seconds) > LATEST_S:
        hint = f": state `unit:`, one of {', '.join(TimeUnit)}, if they are no seconds" if unit is None else ""
        raise WorkloadError(f"{where} is {repr(said)[:40]}, must be at most {LATEST_S:g} s from 0{hint}")
    return seconds
