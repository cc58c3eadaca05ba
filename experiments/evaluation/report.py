"""The figures of an evaluation, gathered and written: as JSON, and as records for later analyses."""

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
from experiments.provenance import Provenance
from models.files.replacement import replacing
from models.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All that is told of a model by its passes over the same questions."""

    breakdown: Breakdown  # full thought
    calibration: Calibrations
    score: Score  # whose thresholds are told first
    thresholds: dict[Score, ThresholdSweep]  # told from the full thoughts' probes
    served: tuple[ServedPass, ...]  # passes with a budget, a threshold or a temperature, really served

    @property
    def budgets(self) -> tuple[ServedPass, ...]:
        """The budget sweep."""
        return tuple(one for one in self.served if one.budget is not None)


def evaluation(
    records: Sequence[EvaluationRecord],
    passes: Sequence[ServedPass],
    rng: np.random.Generator,
    score: Score = Score.GEOMETRIC_MEAN,
) -> Evaluation:
    """The figures of a full-thought pass, and of the passes that have been compared with it.

    `score` is the one that serves; one that records do not tell gives way to the geometric mean.
    """
    return Evaluation(
        breakdown=breakdown(records),
        calibration=calibrations(records),
        score=score if score in SCORES else Score.GEOMETRIC_MEAN,
        thresholds={score: threshold_sweep(records, score, rng) for score in SCORES},
        served=tuple(passes),
    )


def write_json(path: Path, figures: Evaluation, origin: Provenance) -> None:
    """All figures with their provenance, in one file."""
    text = json.dumps({"provenance": asdict(origin), **asdict(figures)}, indent=1, allow_nan=False)
    with replacing(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def write_records(path: Path, records: Sequence[EvaluationRecord]) -> None:
    """One line per question with its probes, so that later analyses need no decoding."""
    with replacing(path) as draft, draft.open("w", encoding="utf-8") as lines:
        for one in records:
            line = {
                "benchmark": one.question.benchmark,
                "split": one.question.split,
                "question": one.question.text,
                "reply": one.reply,
                "right": one.right,
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
