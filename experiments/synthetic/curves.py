"""Published figures of reasoning models, and the assumptions between them: lengths, answers, confidence.

Lengths: ServeGen's DeepSeek-R1 requests (alibaba/ServeGen) have 295, 807, 4165 and 13533 output tokens at p10, p50, p90
and p99. Paragraphs have some 80 tokens, and 41–52 % of a thought's tokens come after it has first reached its final
answer (traces of a distilled 7B reasoner on AIME25).

Early exit at a confidence of 0.95 has two curves. Optimistic, as in DEER's own figures: 19–80 % fewer tokens, accuracy
about unchanged or slightly better. Pessimistic, as in replications on Qwen3-8B: MATH500 falls from 91.1 to 79.9 %,
AIME25 from 74.4 to 21.4 %, since trial answers are confident before the thought has reached its answer. Full thought is
equally accurate in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LENGTHS = ((0.10, 295), (0.50, 807), (0.90, 4165), (0.99, 13533))  # quantile, output tokens
SHORTEST, LONGEST = 64, 20_000  # output tokens; the sample's p99.9 is 20,640
ANSWER, ANSWER_SPREAD = (
    196.0,
    1.2,
)  # median tokens of an answer in ServeGen's sample, and the standard deviation of their log
PARAGRAPH = 80.0  # mean tokens
REACHED = 0.535  # mean share of a thought at which its final answer is first reached
REACHED_WEIGHT = 5.0  # a + b of its Beta distribution


class Curve(StrEnum):
    """How closing a thought early affects its answer."""

    OPTIMISTIC = "optimistic"  # fewer tokens at about the same accuracy, as DEER's own figures
    PESSIMISTIC = "pessimistic"  # accuracy falls with the tokens, as in replications on Qwen3-8B


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Identifies a synthetic reasoner, which is generated from this wherever it is needed."""

    curve: Curve  # how closing a thought early affects its answer
    seed: int = 0  # of all that is drawn
    questions: int = 300  # of each benchmark

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, must be at least 0")
        if self.questions < 100:
            raise ValueError(f"questions is {self.questions}, must be at least 100: tails are to be told apart")

    @property
    def name(self) -> str:
        return f"synthetic 7B reasoner, {self.curve} curve, seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticBenchmark:
    """One benchmark; benchmarks are in order of rising thought length."""

    name: str
    accuracy: float  # of full thought: published for the first and the last benchmark, interpolated between
    unreached: float  # mean logit of a probe's confidence before the final answer is reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """A curve's parameters; a probe's confidence is logit-normal around its thought's own level."""

    benchmarks: tuple[SyntheticBenchmark, ...]
    reached: float  # mean logit of confidence once the final answer is reached
    by_thought: float  # standard deviation of the logit between thoughts
    by_probe: float  # standard deviation of the logit between the probes of one thought
    lost: float  # share of wrong thoughts that hold the right answer for a while before they reach their wrong one
    closed: float  # P(right) of a right thought closed just before it reaches its answer; earlier, proportionally less


def quality(curve: Curve) -> Quality:
    """Returns the parameters of a curve."""
    match curve:
        case Curve.OPTIMISTIC:
            return Quality(
                benchmarks=_benchmarks(-2.5, -2.5, -2.5, -2.5),
                reached=4.0,
                by_thought=1.0,
                by_probe=1.2,
                lost=0.12,
                closed=0.5,
            )
        case Curve.PESSIMISTIC:
            return Quality(
                benchmarks=_benchmarks(1.5, 1.7, 1.9, 2.13),
                reached=4.0,
                by_thought=0.8,
                by_probe=0.8,
                lost=0.05,
                closed=0.25,
            )


def output_tokens(normal: Array) -> Array:
    """Returns output tokens at values of a standard normal: log-linear between the published quantiles and beyond."""
    places = np.array([NormalDist().inv_cdf(share) for share, _ in LENGTHS])
    logs = np.log([tokens for _, tokens in LENGTHS])
    slopes = np.diff(logs) / np.diff(places)
    found = np.interp(normal, places, logs)
    found += np.minimum(normal - places[0], 0.0) * slopes[0] + np.maximum(normal - places[-1], 0.0) * slopes[-1]
    return np.clip(np.exp(found), SHORTEST, LONGEST)


def _benchmarks(*unreached: float) -> tuple[SyntheticBenchmark, ...]:
    named = (
        ("synthetic MATH500", 0.911),
        ("synthetic AMC", 0.87),
        ("synthetic Olympiad", 0.81),
        ("synthetic AIME25", 0.744),
    )
    return tuple(
        SyntheticBenchmark(name=name, accuracy=accuracy, unreached=level)
        for (name, accuracy), level in zip(named, unreached, strict=True)
    )
