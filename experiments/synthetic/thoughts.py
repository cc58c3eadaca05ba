"""Draws thoughts from published figures in the form that calibration records: with probes and closings at budgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from experiments.calibration.traces import ClosedReply, ThoughtTrace
from experiments.evaluation.evaluation import Asked
from experiments.synthetic.curves import (
    ANSWER,
    ANSWER_SPREAD,
    PARAGRAPH,
    REACHED,
    REACHED_WEIGHT,
    Curve,
    Quality,
    SyntheticBenchmark,
    output_tokens,
    quality,
)
from experiments.synthetic.vocabulary import FILLER, FORMAT, PARAGRAPH_END, SUBJECTS, SyntheticVocabulary
from models.score import Score

TOLD = 0.55  # share of the variance of a length's normal quantile that the prompt's subject explains
STREAM = 7_000_000_000  # own random stream; else lengths correlate with the folds that cross-validate difficulty
PROMPT = 150  # tokens: a competition problem in its chat template
BUDGETS = (500, 1000, 2000, 4000, 8000)  # thought tokens
TRIAL = (2, 8)  # fewest and most tokens of a trial answer
LOST_FROM = 0.5  # share of a wrong thought's way to its answer from which it holds the right answer, if it ever does


@dataclass(frozen=True, slots=True, kw_only=True)
class Thoughts:
    """The drawn records of a calibration."""

    traces: Mapping[int, ThoughtTrace]  # by question
    closings: Mapping[tuple[int, int], ClosedReply]  # by question and budget
    benchmarks: tuple[str, ...]  # of each question


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """The plan of one question's thought; places are token positions in it."""

    number: int
    benchmark: SyntheticBenchmark
    subject: int
    thought: int  # tokens
    answer: int  # tokens of the reply after the thought
    right: bool  # whether the full thought's answer is right
    sure_from: int  # place where confidence rises
    right_from: int  # place where trial answers become right; beyond the thought: never
    right_until: int  # place where trial answers become wrong again; beyond the thought: never


def draw(curve: Curve, *, count: int, seed: int, vocabulary: SyntheticVocabulary) -> Thoughts:
    """Draws `count` questions of each benchmark. The same seed gives the same lengths under either curve."""
    told = quality(curve)
    traces: dict[int, ThoughtTrace] = {}
    closings: dict[tuple[int, int], ClosedReply] = {}
    names = []
    for plan in _plans(told, count, seed):
        rng = np.random.default_rng([STREAM, seed, 1 + plan.number])
        traces[plan.number] = _trace(plan, told, rng, vocabulary)
        names.append(plan.benchmark.name)
        luck = rng.uniform()
        for budget in BUDGETS:
            if budget <= plan.thought:
                closings[plan.number, budget] = ClosedReply(
                    number=plan.number,
                    budget=budget,
                    right=_closed_right(plan, budget, told, luck),
                    tokens=len(vocabulary.thinking.landing) + plan.answer,
                )
    return Thoughts(traces=traces, closings=closings, benchmarks=tuple(names))


def _plans(told: Quality, count: int, seed: int) -> Iterator[_Plan]:
    """Plans thoughts with lengths at even quantiles; the rank of a noisy length sets subject and benchmark."""
    rng = np.random.default_rng([STREAM, seed])
    kinds = len(told.benchmarks)
    total = count * kinds
    even = [NormalDist().inv_cdf((place + 0.5) / total) for place in range(total)]
    normal = rng.permutation(np.array(even))
    output = np.rint(output_tokens(normal)).astype(np.int64)
    seen = np.sqrt(TOLD) * normal + np.sqrt(1.0 - TOLD) * rng.standard_normal(total)
    place = seen.argsort().argsort()
    answer = np.minimum(np.exp(rng.normal(np.log(ANSWER), ANSWER_SPREAD, total)), output / 2.0)
    reached = rng.beta(REACHED * REACHED_WEIGHT, (1.0 - REACHED) * REACHED_WEIGHT, total)
    lost = rng.uniform(size=total) < told.lost
    rights = [rng.permutation(np.arange(count) < round(kind.accuracy * count)) for kind in told.benchmarks]
    for number in range(total):
        kind = int(place[number]) // count
        thought = int(output[number] - max(1, round(answer[number])) - 1)  # 1 for the closing marker between them
        right = bool(rights[kind][place[number] % count])
        at = round(float(reached[number]) * thought)
        held = not right and bool(lost[number])
        first = round(LOST_FROM * at) if held else at
        yield _Plan(
            number=number,
            benchmark=told.benchmarks[kind],
            subject=int(place[number]) * SUBJECTS // total,
            thought=thought,
            answer=int(output[number]) - thought - 1,
            right=right,
            sure_from=first,
            right_from=first if right or held else thought + 1,
            right_until=at if held else thought + 1,
        )


def _trace(plan: _Plan, told: Quality, rng: np.random.Generator, vocabulary: SyntheticVocabulary) -> ThoughtTrace:
    filler, end = vocabulary.id(FILLER), vocabulary.id(PARAGRAPH_END)
    places = _paragraph_ends(plan.thought, rng)
    thought = np.full(plan.thought, filler)
    thought[places - 1] = end
    level = np.where(places >= plan.sure_from, told.reached, plan.benchmark.unreached)
    level = level + told.by_thought * rng.standard_normal() + told.by_probe * rng.standard_normal(places.size)
    logs = np.round(-np.log1p(np.exp(-level)), 5)
    size = int(rng.integers(TRIAL[0], TRIAL[1] + 1))
    known = _digits(rng, size)
    probes = []
    for place, log in zip(places.tolist(), logs.tolist(), strict=True):
        right = plan.right_from <= place < plan.right_until
        log_probs = (log,) * size
        probes.append(
            Asked(
                thought_tokens=place,
                beyond=size + 1,  # one pass for each token of the answer and for its terminator
                answer=known if right else _digits(rng, size),
                confidence=Score.GEOMETRIC_MEAN.confidence(log_probs),
                joint=Score.JOINT.confidence(log_probs),
                right=right,
                rows=len(vocabulary.thinking.probe_suffix) + size,
                log_probs=log_probs,
            )
        )
    tokens = plan.thought + 1 + plan.answer
    return ThoughtTrace(
        number=plan.number,
        prompt=_prompt(plan, vocabulary),
        thought=tuple(thought.tolist()),
        right=plan.right,
        tokens=tokens,
        rows=tokens + sum(probe.rows for probe in probes),
        probes=tuple(probes),
    )


def _paragraph_ends(thought: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Returns the places where paragraphs end, except the last: each paragraph is long enough to hold a probe."""
    least = FORMAT.transitions.min_gap
    lengths = least + rng.gamma(2.0, (PARAGRAPH - least) / 2.0, thought // least + 1)
    places = np.cumsum(np.rint(lengths).astype(np.int64))
    return places[places <= thought - least]


def _closed_right(plan: _Plan, budget: int, told: Quality, luck: float) -> bool:
    """Whether the answer at a budget is right; for right thoughts the chance grows with the budget."""
    if budget >= plan.right_from or not plan.right:
        return plan.right_from <= budget < plan.right_until
    return luck < told.closed * budget / plan.right_from


def _prompt(plan: _Plan, vocabulary: SyntheticVocabulary) -> tuple[int, ...]:
    """Returns a prompt that holds the subject and the question's number, and opens the thought."""
    said = (vocabulary.subject(plan.subject), *vocabulary.encode(f"{plan.number:06d}"))
    return (*(vocabulary.id(FILLER),) * (PROMPT - len(said)), *said, *vocabulary.thinking.opening)


def _digits(rng: np.random.Generator, count: int) -> str:
    return "".join(str(digit) for digit in rng.integers(10, size=count))
