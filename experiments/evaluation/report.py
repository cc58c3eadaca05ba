"""Collects the figures of an evaluation, and writes them as JSON and as records for later analyses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from experiments.evaluation.breakdown import Breakdown, breakdown
from experiments.evaluation.evaluation import EvaluationRecord
from experiments.evaluation.reliability import Calibrations, calibrations
from experiments.evaluation.sweeps import SCORES, ServedPass, ThresholdSweep, threshold_sweep
from experiments.grading.grade import GradeCounts, grade_counts
from experiments.provenance import Provenance
from models.files.replacement import replacing
from models.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All figures of a model from its passes over the same questions."""

    breakdown: Breakdown  # of full thought
    calibration: Calibrations
    score: Score  # whose thresholds are reported first
    thresholds: dict[Score, ThresholdSweep]  # replayed from the full thoughts' probes
    served: tuple[ServedPass, ...]  # passes actually served with a budget, a threshold or a temperature
    grading: GradeCounts  # of the full thoughts' replies and probes

    @property
    def budgets(self) -> tuple[ServedPass, ...]:
        """The served passes that have a budget."""
        return tuple(one for one in self.served if one.budget is not None)


def evaluation(
    records: Sequence[EvaluationRecord],
    passes: Sequence[ServedPass],
    rng: np.random.Generator,
    score: Score = Score.GEOMETRIC_MEAN,
) -> Evaluation:
    """Computes the figures of a full-thought pass, and adds the passes compared with it.

    `score` is the score that serving uses; the geometric mean replaces a score that records lack.
    """
    return Evaluation(
        breakdown=breakdown(records),
        calibration=calibrations(records),
        score=score if score in SCORES else Score.GEOMETRIC_MEAN,
        thresholds={score: threshold_sweep(records, score, rng) for score in SCORES},
        served=tuple(passes),
        grading=grade_counts(grade for one in records for grade in one.grades),
    )


def write_json(path: Path, figures: Evaluation, origin: Provenance) -> None:
    """Writes all figures with their provenance to one JSON file."""
    text = json.dumps({"provenance": asdict(origin), **asdict(figures)}, indent=1, allow_nan=False)
    with replacing(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def write_records(path: Path, records: Sequence[EvaluationRecord]) -> None:
    """Writes one JSON line per question with its probes, so that later analyses need no decoding."""
    with replacing(path) as draft, draft.open("w", encoding="utf-8") as lines:
        for one in records:
            line = {
                "benchmark": one.question.benchmark,
                "split": one.question.split,
                "question": one.question.text,
                "reply": one.reply,
                "right": one.right,
                "graded_by": one.graded_by,
                "tokens": one.tokens,
                "thought_tokens": one.thought_tokens,
                "rows": one.rows,
                "ended": one.ended,
                "exit_reason": one.exit_reason,
                "transitions": one.transitions,
                "first_answer": one.first_answer,
                "probes": [asdict(probe) for probe in one.probes],
            }
            lines.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
