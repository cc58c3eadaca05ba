"""Records of a reasoner made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.reasoner.evidence import ReasonerEvidence
from engine.base import ProbeSpec
from experiments.calibration.races.sampled import SampledReply
from experiments.calibration.traces import ClosedReply, ThoughtTrace
from experiments.evaluation.evaluation import Asked
from experiments.question import Question
from models.score import Score

SPEC = ProbeSpec(suffix=(1, 2, 3), max_answer_tokens=6, answer_stops=frozenset({0}), score=Score.JOINT)


def question(family: str, number: int, text: str = "") -> Question:
    return Question(
        text=text or f"{family} {number}?",
        benchmark=family,
        split="easy",
        grade=lambda _: True,
        grade_boxed=lambda _: True,
    )


def probe(tokens: int, joint: float, *, right: bool) -> Asked:
    """A probe after so many tokens of a thought, of an answer of one token."""
    return Asked(
        thought_tokens=tokens,
        beyond=2,
        answer="7",
        confidence=joint,
        joint=joint,
        right=right,
        rows=4,
        log_probs=(math.log(joint),),
        same=right,
    )


def trace(length: int, *probes: Asked, right: bool = True, natural: bool = True, prompt: int = 10) -> ThoughtTrace:
    """A full thought of so many tokens, behind a prompt of so many."""
    return ThoughtTrace(
        number=0,
        prompt=tuple(range(prompt)),
        thought=(5,) * length,
        right=right,
        tokens=length + 5,
        rows=length + 5 + sum(one.rows for one in probes),
        probes=probes,
        natural=natural,
        answer="7",
    )


def direct(right: bool) -> ClosedReply:
    return ClosedReply(number=0, budget=0, right=right, tokens=8, same=right, answer="7")


def reply(answer: str, tokens: int, *, right: bool, sample: int = 0) -> SampledReply:
    return SampledReply(
        question="key",
        sample=sample,
        tokens=tokens,
        thought_tokens=tokens - 5,
        answer=answer,
        right=right,
        ended_by="natural",
    )


def made_evidence(
    families: dict[str, Sequence[ThoughtTrace]],
    *,
    directly: bool | None = None,
    replies: Sequence[SampledReply] = (),
) -> ReasonerEvidence:
    """Evidence of thoughts by family; every question has the same answer without thought and the same replies."""
    questions = [question(name, number) for name, mine in families.items() for number in range(len(mine))]
    return ReasonerEvidence(
        questions=questions,
        traces=[one for mine in families.values() for one in mine],
        direct=[None if directly is None else direct(directly)] * len(questions),
        replies=[tuple(replies)] * len(questions),
        spec=SPEC,
    )
