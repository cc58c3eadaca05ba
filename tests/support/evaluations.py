"""Probes and records made by hand."""

from __future__ import annotations

from controller.serving.request import ExitReason
from experiments.evaluation.evaluation import Asked, EvaluationRecord
from experiments.question import Question


def asked(
    confidence: float, *, right: bool, joint: float | None = None, thought_tokens: int = 10, beyond: int = 3
) -> Asked:
    """A probe that cost 5 rows."""
    return Asked(
        thought_tokens=thought_tokens,
        beyond=beyond,
        answer="7",
        confidence=confidence,
        joint=confidence if joint is None else joint,
        right=right,
        rows=5,
    )


def recorded(
    *probes: Asked,
    right: bool = True,
    tokens: int = 100,
    thought_tokens: int = 90,
    first_answer: int | None = None,
    benchmark: str = "any",
    split: str | None = "easy",
) -> EvaluationRecord:
    """A full thought that ended by itself, with no probe but these."""
    return EvaluationRecord(
        question=Question(
            text="?", benchmark=benchmark, split=split, grade=lambda _: right, grade_boxed=lambda _: right
        ),
        reply="7",
        right=right,
        tokens=tokens,
        thought_tokens=thought_tokens,
        rows=tokens + sum(probe.rows for probe in probes),
        ended=True,
        exit_reason=ExitReason.NATURAL,
        transitions=len(probes),
        probes=probes,
        first_answer=first_answer,
    )
