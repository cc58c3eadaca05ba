"""Two policies on the very same requests: differences, with intervals that know of queues.

Requests near one another wait for one another, so single requests must not be resampled. Blocks of consecutive ones
are (a circular block bootstrap), √n long, the same blocks of both policies, within each seed's run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.request_record import RequestRecord
from experiments.statistics import RESAMPLES
from experiments.trials.experiment import Slo
from experiments.trials.outcome import in_time

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What a policy changes against another."""

    latency: Estimate  # of the mean, relative: -0.2 is 20 % less
    in_time: Estimate  # SLO attainment, points
    accuracy: Estimate  # points
    tokens: Estimate  # of the mean, relative
    utility: Estimate  # points: accuracy, less latency_weight for each second


def paired(
    before: Sequence[Sequence[RequestRecord]],
    now: Sequence[Sequence[RequestRecord]],
    slo: Slo,
    *,
    latency_weight: float,
    rng: np.random.Generator,
) -> Paired:
    """Compare runs seed by seed, request by request. Raises ValueError where they are not of the same requests."""
    sums = np.zeros((RESAMPLES, _COLUMNS))
    whole = np.zeros(_COLUMNS)
    for one, other in zip(before, now, strict=True):
        table = _table(one, other, slo)
        whole += table.sum(axis=0)
        sums += _resampled(table, rng)
    values = _changes(whole[None], latency_weight)[0]
    low, high = np.nanpercentile(_changes(sums, latency_weight), [2.5, 97.5], axis=0)
    found = [Estimate(value=float(v), low=float(a), high=float(b)) for v, a, b in zip(values, low, high, strict=True)]
    latency, timely, accuracy, tokens, utility = found
    return Paired(latency=latency, in_time=timely, accuracy=accuracy, tokens=tokens, utility=utility)


_COLUMNS = 10  # count, both served; then before and now of: latency, in time, right, rows


def _table(before: Sequence[RequestRecord], now: Sequence[RequestRecord], slo: Slo) -> Array:
    """[request, column]; latency and rows count where both were served."""
    if [(one.number, one.question) for one in before] != [(one.number, one.question) for one in now]:
        raise ValueError(f"runs of {len(before)} and {len(now)} requests are compared, must be of the same requests")
    rows = []
    for one, other in zip(before, now, strict=True):
        both = float(one.error is None and other.error is None)
        rows.append(
            [
                1.0, both, both * one.latency_s, both * other.latency_s, in_time(one, slo), in_time(other, slo),
                bool(one.right), bool(other.right), both * one.rows, both * other.rows,
            ]
        )  # fmt: skip
    return np.array(rows, dtype=np.float64).reshape(len(before), _COLUMNS)


def _resampled(table: Array, rng: np.random.Generator) -> Array:
    """[resample, column]: sums over as many blocks as the run has."""
    count = len(table)
    if not count:
        return np.zeros((RESAMPLES, _COLUMNS))
    length = max(1, round(math.sqrt(count)))
    ends = np.cumsum(np.concatenate((np.zeros((1, _COLUMNS)), table, table[: length - 1])), axis=0)
    blocks = ends[length:] - ends[:-length]  # the block that begins at each request, round the end
    starts = rng.integers(count, size=(RESAMPLES, max(1, round(count / length))))
    return np.asarray(blocks[starts].sum(axis=1))


def _changes(sums: Array, latency_weight: float) -> Array:
    """[resample, figure]: latency, in time, accuracy, tokens, utility."""
    count, both, latency, latency_now, timely, timely_now, right, right_now, rows, rows_now = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample in which nothing was served tells nothing
        seconds = (latency_now - latency) / both
        accuracy = (right_now - right) / count
        return np.stack(
            [
                latency_now / latency - 1.0,
                100.0 * (timely_now - timely) / count,
                100.0 * accuracy,
                rows_now / rows - 1.0,
                100.0 * (accuracy - latency_weight * seconds),
            ],
            axis=1,
        )
