"""Compares two policies on the same requests, with intervals that account for queueing and repeated questions.

Neighbouring requests delay one another, so latency, SLO attainment and tokens resample blocks of n^⅔ consecutive
requests (a circular block bootstrap), the same blocks for both policies, within each seed's run. Correctness depends on
the question, so accuracy resamples questions, each with all its requests. The two are drawn independently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.request_record import RequestRecord
from experiments.statistics import RESAMPLES, resampled_means
from experiments.trials.experiment import ClassSlo
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
    """The changes of a policy against another one; None: no request was served under both, which tells no change."""

    latency: Estimate | None  # of the mean, relative: -0.2 is 20 % less
    in_time: Estimate  # SLO attainment, points
    accuracy: Estimate  # points
    tokens: Estimate | None  # of the mean, relative
    utility: Estimate | None  # points: accuracy, less latency_weight for each second of latency


def paired(
    before: Sequence[Sequence[RequestRecord]],
    now: Sequence[Sequence[RequestRecord]],
    slo: ClassSlo,
    *,
    latency_weight: float,
    questions: Sequence[int],
    rng: np.random.Generator,
) -> Paired:
    """Compares runs seed by seed, request by request; `questions` holds the question of every request, in order.

    Raises ValueError if the runs are not of the same requests.
    """
    sums = np.zeros((RESAMPLES, _COLUMNS))
    whole = np.zeros(_COLUMNS)
    gained: list[int] = []
    for one, other in zip(before, now, strict=True):
        table = _table(one, other, slo)
        whole += table.sum(axis=0)
        sums += _resampled(table, rng)
        gained += [bool(b.right) - bool(a.right) for a, b in zip(one, other, strict=True)]
    changes = np.array(gained)
    rights = np.concatenate(([changes.mean()], resampled_means(changes, questions, rng)))
    figures = _changes(np.concatenate((whole[None], sums)), rights, latency_weight)
    latency, timely, accuracy, tokens, utility = (_estimate(column) for column in figures.T)
    assert timely is not None, "every request is in time or not"
    assert accuracy is not None, "every request is right or not"
    return Paired(latency=latency, in_time=timely, accuracy=accuracy, tokens=tokens, utility=utility)


def _estimate(values: Array) -> Estimate | None:
    """Returns a figure, the first of `values`, with the interval of the others, its resamples; None: it is no number.

    Resamples without served requests are left out.
    """
    resampled = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not resampled.size:
        return None
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(value=float(values[0]), low=float(low), high=float(high))


_COLUMNS = 8  # count, both served; then latency, in time and rows, each before and now


def _table(before: Sequence[RequestRecord], now: Sequence[RequestRecord], slo: ClassSlo) -> Array:
    """Returns [request, column]; latency and rows are 0 unless both runs served the request."""
    if [(one.number, one.question) for one in before] != [(one.number, one.question) for one in now]:
        raise ValueError(f"runs of {len(before)} and {len(now)} requests are compared, must be of the same requests")
    rows = []
    for one, other in zip(before, now, strict=True):
        both = float(one.error is None and other.error is None)
        rows.append(
            [
                1.0, both, both * one.latency_s, both * other.latency_s, in_time(one, slo), in_time(other, slo),
                both * one.rows, both * other.rows,
            ]
        )  # fmt: skip
    return np.array(rows, dtype=np.float64).reshape(len(before), _COLUMNS)


def _resampled(table: Array, rng: np.random.Generator) -> Array:
    """Returns [resample, column]: sums over randomly drawn blocks, as many as the run has."""
    count = len(table)
    if not count:
        return np.zeros((RESAMPLES, _COLUMNS))
    length = max(1, round(count ** (2 / 3)))
    ends = np.cumsum(np.concatenate((np.zeros((1, _COLUMNS)), table, table[: length - 1])), axis=0)
    blocks = ends[length:] - ends[:-length]  # sum of the block that starts at each request, wrapping at the end
    starts = rng.integers(count, size=(RESAMPLES, max(1, round(count / length))))
    return np.asarray(blocks[starts].sum(axis=1))


def _changes(sums: Array, accuracy: Array, latency_weight: float) -> Array:
    """Returns [resample, figure]: latency, in time, accuracy, tokens, utility."""
    count, both, latency, latency_now, timely, timely_now, rows, rows_now = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without served requests gives NaN
        seconds = (latency_now - latency) / both
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
