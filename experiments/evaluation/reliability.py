"""How far a probe's confidence can be believed: calibration error, reliability table and ranking, for both scores."""

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
    """One score's trustworthiness."""

    error: float  # ECE
    auroc: float | None  # None: all answers right, or all wrong
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """All probes of a set of thoughts."""

    right: Proportion  # of the trial answers
    scores: dict[Score, ScoreCalibration]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrations:
    """All probes, and each benchmark's. None: there were none."""

    all: Calibration | None
    benchmarks: dict[str, Calibration | None]


def calibrations(records: Sequence[EvaluationRecord]) -> Calibrations:
    """The calibration of one full-thought pass."""
    return Calibrations(
        all=calibration(records),
        benchmarks={name: calibration(mine) for name, mine in by_benchmark(records).items()},
    )


def calibration(records: Sequence[EvaluationRecord]) -> Calibration | None:
    """Over all probes of these records; None where they have none."""
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
