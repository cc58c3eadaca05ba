"""Accuracy, thought lengths, transition points and verification, by benchmark and split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from experiments.evaluation.evaluation import EvaluationRecord
from experiments.statistics import Distribution, Proportion, distribution, proportion, width_of_bins
from models.reasoner.tasks import SPLITS

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """Transition points of thoughts; `before` and `at_or_after` cover the thoughts with a first answer."""

    per_thought: float
    thoughts_with_first_answer: int
    before: float | None  # its mean per thought; None: no thought has a first answer
    at_or_after: float | None  # its mean per thought; None: no thought has a first answer
    price: float | None  # probes' rows as a share of the thought tokens still to come at each probe; None: no probes


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The part of thoughts after their first answer, over the thoughts that have a first answer."""

    counted: int
    first_accuracy: Proportion | None  # None: no thought counted
    final_accuracy: Proportion | None  # None: no thought counted
    fixed: int  # first answer wrong, final answer right
    broken: int  # first answer right, final answer wrong
    share: float | None  # mean share of a thought's tokens that follow its first answer; None: no thought counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The figures of a set of questions."""

    accuracy: Proportion
    tokens: float  # mean per reply
    thought: Distribution
    unended: int  # replies that the token limit cut
    cut: int  # thoughts that the token limit closed
    transitions: Transitions
    verification: Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkGroups:
    """The figures of one benchmark, as a whole and by split."""

    all: Group
    splits: dict[str, Group]


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The figures of all questions, of each benchmark, and of each split over all benchmarks."""

    all: Group
    benchmarks: dict[str, BenchmarkGroups]
    splits: dict[str, Group]


def breakdown(records: Sequence[EvaluationRecord]) -> Breakdown:
    """Computes the figures of one full-thought pass."""
    width = width_of_bins(max(one.thought_tokens for one in records))

    def group(of: Sequence[EvaluationRecord]) -> Group:
        return Group(
            accuracy=proportion([one.right for one in of]),
            tokens=float(np.mean([one.tokens for one in of])),
            thought=distribution([one.thought_tokens for one in of], width),
            unended=sum(not one.ended for one in of),
            cut=sum(not one.natural for one in of),
            transitions=_transitions(of),
            verification=_verification(of),
        )

    def by_split(of: Sequence[EvaluationRecord]) -> dict[str, Group]:
        found = grouped(of, lambda one: one.question.split)
        named = {split: mine for split, mine in found.items() if split is not None}
        return {split: group(named[split]) for split in sorted(named, key=_place)}

    return Breakdown(
        all=group(records),
        benchmarks={
            name: BenchmarkGroups(all=group(mine), splits=by_split(mine))
            for name, mine in by_benchmark(records).items()
        },
        splits=by_split(records),
    )


def grouped(
    records: Sequence[EvaluationRecord], key: Callable[[EvaluationRecord], Key]
) -> dict[Key, list[EvaluationRecord]]:
    """Groups records by a key, in order of the key's first appearance."""
    found: dict[Key, list[EvaluationRecord]] = {}
    for one in records:
        found.setdefault(key(one), []).append(one)
    return found


def by_benchmark(records: Sequence[EvaluationRecord]) -> dict[str, list[EvaluationRecord]]:
    """Groups records by benchmark."""
    return grouped(records, lambda one: one.question.benchmark)


def _place(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)  # easy to hard, then unknown splits


def _transitions(records: Sequence[EvaluationRecord]) -> Transitions:
    before = [one.first_answer for one in records if one.first_answer is not None]
    after = [one.transitions - one.first_answer for one in records if one.first_answer is not None]
    rows = sum(probe.rows for one in records for probe in one.probes)
    to_come = sum(one.thought_tokens - probe.thought_tokens for one in records for probe in one.probes)
    return Transitions(
        per_thought=float(np.mean([one.transitions for one in records])),
        thoughts_with_first_answer=len(before),
        before=float(np.mean(before)) if before else None,
        at_or_after=float(np.mean(after)) if after else None,
        price=rows / to_come if to_come else None,
    )


def _verification(records: Sequence[EvaluationRecord]) -> Verification:
    counted = [(one.verified_from, one) for one in records]
    pairs = [(first, one) for first, one in counted if first is not None]
    shares = [1.0 - first.thought_tokens / one.thought_tokens for first, one in pairs]
    return Verification(
        counted=len(pairs),
        first_accuracy=proportion([first.right for first, _ in pairs]) if pairs else None,
        final_accuracy=proportion([one.right for _, one in pairs]) if pairs else None,
        fixed=sum(one.right and not first.right for first, one in pairs),
        broken=sum(first.right and not one.right for first, one in pairs),
        share=float(np.mean(shares)) if shares else None,
    )
