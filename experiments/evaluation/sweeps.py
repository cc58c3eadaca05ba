"""Gains and costs of early exit against full thought: replayed from one pass's probes, or actually served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.evaluation.breakdown import by_benchmark
from experiments.evaluation.evaluation import Asked, EvaluationRecord
from experiments.statistics import Difference, Proportion, Truths, difference, proportion
from models.profile.give_up import GiveUpLimit
from models.score import Score

THRESHOLDS = (0.3, 0.5, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99)
SCORES = (Score.GEOMETRIC_MEAN, Score.JOINT)
ENDING = 2  # tokens after an adopted answer: its terminator and the end of the reply
PERCENTILES = (10, 25, 50, 75, 90)  # of full-thought lengths: the default budgets

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitPoint:
    """The figures of a fixed threshold, replayed on a set of records."""

    threshold: float
    accuracy: float
    against: Difference  # to full thought
    tokens: float  # token rows decoded per question, probes included
    saved: float  # net share of the full thought's tokens saved: probing deducted
    gross: float  # share saved before probing is deducted
    overhead: float | None  # cost of probing as a share of the gross saving; None: nothing was saved
    probe_rows: float  # rows of all probes per question, adopted probes included
    exits: float  # share of thoughts closed early


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdReplay:
    """The replay of a threshold on each record."""

    threshold: float
    right: Truths
    reply: Counts  # tokens of the reply
    rows: Counts  # all token rows decoded for the reply
    probe_rows: Counts
    exited: Truths


def score_of(probe: Asked, score: Score) -> float:
    """Returns a probe's confidence under a score. Raises ValueError if the score is not recorded."""
    match score:
        case Score.GEOMETRIC_MEAN:
            return probe.confidence
        case Score.JOINT:
            return probe.joint
    raise ValueError(f"score is {score.value!r}, recorded are: {', '.join(SCORES)}")


def replay(
    records: Sequence[EvaluationRecord],
    threshold: float,
    score: Score = Score.GEOMETRIC_MEAN,
    give_up: GiveUpLimit | None = None,
) -> ThresholdReplay:
    """Replays closing each thought at its first probe of at least this confidence, or below a lower curve.

    `give_up` None: no thought is given up. One that is gets the answer of its surest probe so far.

    The reply of an exit is the thought up to the probe, the probe's suffix and answer, and the tokens that end it. Its
    overhead is all probes before, and the tokens that the thought decoded beside the adopted probe. A live probe gives
    up early and so costs less than the recorded probe. The replay assumes a format that keeps the trial answer; a
    format that has the answer written anew (`keep: close`) decodes more.
    """
    rows = [_exit(one, threshold, score, give_up) for one in records]
    right, reply, decoded, probe_rows, exited = zip(*rows, strict=True)
    return ThresholdReplay(
        threshold=threshold,
        right=np.array(right, dtype=np.bool_),
        reply=np.array(reply),
        rows=np.array(decoded),
        probe_rows=np.array(probe_rows),
        exited=np.array(exited, dtype=np.bool_),
    )


def _exit(
    one: EvaluationRecord, threshold: float, score: Score, give_up: GiveUpLimit | None
) -> tuple[bool, int, int, int, bool]:
    spent, best = 0, (-1.0, False)  # the surest probe so far, and whether it is right
    for probe in one.probes:
        spent += probe.rows
        sure = score_of(probe, score)
        if sure >= best[0]:
            best = sure, probe.right
        if sure >= threshold or (give_up is not None and sure < give_up.at(probe.thought_tokens)):
            right = probe.right if sure >= threshold else best[1]
            reply = probe.thought_tokens + probe.rows + ENDING
            return right, reply, reply + probe.beyond + spent - probe.rows, spent, True
    return one.right, one.tokens, one.rows, one.rows - one.tokens, False


def exit_point(records: Sequence[EvaluationRecord], told: ThresholdReplay, rng: np.random.Generator) -> ExitPoint:
    """Computes a replay's figures against full thought without any probing."""
    full = sum(one.tokens for one in records)
    gross, overhead = full - int(told.reply.sum()), int((told.rows - told.reply).sum())
    return ExitPoint(
        threshold=told.threshold,
        accuracy=float(told.right.mean()),
        against=difference(_rights(records), told.right, rng),
        tokens=float(told.rows.mean()),
        saved=(gross - overhead) / full,
        gross=gross / full,
        overhead=overhead / gross if gross > 0 else None,
        probe_rows=float(told.probe_rows.mean()),
        exits=float(told.exited.mean()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdSweep:
    """One score's exit points at all thresholds."""

    score: Score
    all: tuple[ExitPoint, ...]
    benchmarks: dict[str, tuple[ExitPoint, ...]]


def threshold_sweep(records: Sequence[EvaluationRecord], score: Score, rng: np.random.Generator) -> ThresholdSweep:
    """Replays every threshold, on all records and on each benchmark's."""
    return ThresholdSweep(
        score=score,
        all=_points(records, score, rng),
        benchmarks={name: _points(mine, score, rng) for name, mine in by_benchmark(records).items()},
    )


def _points(records: Sequence[EvaluationRecord], score: Score, rng: np.random.Generator) -> tuple[ExitPoint, ...]:
    return tuple(exit_point(records, replay(records, threshold, score), rng) for threshold in THRESHOLDS)


def default_budgets(records: Sequence[EvaluationRecord]) -> tuple[int, ...]:
    """Returns the distinct percentiles of the full-thought lengths, tokens."""
    lengths = [one.thought_tokens for one in records]
    return tuple(sorted({round(float(budget)) for budget in np.percentile(lengths, PERCENTILES)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPass:
    """A pass that was actually served under limits or with sampling, compared with greedy full thought."""

    threshold: float | None = None  # None: no early exit by confidence
    budget: int | None = None  # thought tokens; None: unlimited
    temperature: float = 0.0
    accuracy: Proportion
    against: Difference
    tokens: float  # token rows decoded per question, probes included
    saved: float  # net share of the full thought's tokens saved
    closed: float  # share of thoughts that the model did not close itself
    benchmarks: Mapping[str, Proportion]


def served(
    full: Sequence[EvaluationRecord],
    records: Sequence[EvaluationRecord],
    rng: np.random.Generator,
    *,
    threshold: float | None = None,
    budget: int | None = None,
    temperature: float = 0.0,
) -> ServedPass:
    """Compares a pass with the full thoughts on the same questions, in the same order."""
    rows = sum(one.rows for one in records)
    return ServedPass(
        threshold=threshold,
        budget=budget,
        temperature=temperature,
        accuracy=proportion(_rights(records)),
        against=difference(_rights(full), _rights(records), rng),
        tokens=rows / len(records),
        saved=1.0 - rows / sum(one.tokens for one in full),
        closed=sum(not one.natural for one in records) / len(records),
        benchmarks={name: proportion(_rights(mine)) for name, mine in by_benchmark(records).items()},
    )


def _rights(records: Sequence[EvaluationRecord]) -> Truths:
    return np.array([one.right for one in records], dtype=np.bool_)
