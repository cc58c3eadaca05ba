"""Reliability of a probe's confidence: calibration error, reliability table and AUROC, for both scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.evaluation.breakdown import by_benchmark
from experiments.evaluation.evaluation import EvaluationRecord
from experiments.evaluation.sweeps import SCORES, score_of
from experiments.statistics import Bin, Proportion, auroc, calibration_error, proportion, reliability
from models.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCalibration:
    """The calibration of one score."""

    error: float  # ECE
    auroc: float | None  # None: all answers are right, or all are wrong
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The calibration over all probes of a set of thoughts."""

    right: Proportion  # share of right trial answers
    scores: dict[Score, ScoreCalibration]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrations:
    """The calibration over all probes, and over each benchmark's. None: there were no probes."""

    all: Calibration | None
    benchmarks: dict[str, Calibration | None]


def calibrations(records: Sequence[EvaluationRecord]) -> Calibrations:
    """Computes the calibrations of one full-thought pass."""
    return Calibrations(
        all=calibration(records),
        benchmarks={name: calibration(mine) for name, mine in by_benchmark(records).items()},
    )


def calibration(records: Sequence[EvaluationRecord]) -> Calibration | None:
    """Computes the calibration over all probes of these records; None: there are no probes."""
    probes = [probe for one in records for probe in one.probes]
    if not probes:
        return None
    right = np.array([probe.right for probe in probes], dtype=np.bool_)
    scores = {}
    for score in SCORES:
        values = np.array([score_of(probe, score) for probe in probes])
        bins = reliability(values, right)
        scores[score] = ScoreCalibration(error=calibration_error(bins), auroc=auroc(values, right), bins=bins)
    return Calibration(right=proportion(right), scores=scores)
