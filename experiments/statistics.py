"""Statistics of graded answers, scores and lengths: intervals, paired differences, calibration and distributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Truths = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]

RESAMPLES = 2_000
BINS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """A share of a sample, with Wilson's 95 % interval."""

    count: int
    share: float
    low: float
    high: float


def proportion(truths: Sequence[bool] | Truths) -> Proportion:
    """Returns the share of true values. Raises ValueError if there are no values."""
    count, right = len(truths), int(sum(truths))
    if not count:
        raise ValueError("a proportion of 0 values, needs at least 1")
    low, high = interval(right, count)
    return Proportion(count=count, share=right / count, low=low, high=high)


def interval(right: int, count: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a proportion."""
    from scipy.stats import binomtest

    found = binomtest(right, count).proportion_ci(confidence_level=0.95, method="wilson")
    return float(found.low), float(found.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The points of accuracy that another way of answering the same questions loses; negative: gains.

    The 95 % interval is the percentile interval of a paired bootstrap over questions.
    """

    points_lost: float
    low: float
    high: float
    lost: int  # wrong now, right before
    gained: int  # right now, wrong before


def difference(
    before: Truths, now: Truths, rng: np.random.Generator, questions: npt.ArrayLike | None = None
) -> Difference:
    """Compares two ways of answering, request by request.

    `questions` holds each request's question; None: every request asks a different one.
    """
    change = before.astype(int) - now.astype(int)
    lost, gained, count = int((change == 1).sum()), int((change == -1).sum()), len(change)
    resampled = resampled_means(change, np.arange(count) if questions is None else questions, rng)
    low, high = np.percentile(100.0 * resampled, [2.5, 97.5])
    return Difference(
        points_lost=100.0 * (lost - gained) / count, low=float(low), high=float(high), lost=lost, gained=gained
    )


def resampled_means(values: npt.NDArray[np.int_], questions: npt.ArrayLike, rng: np.random.Generator) -> Numbers:
    """Returns bootstrap means of whole numbers, one per request, resampled by question: [resample].

    A resample draws questions with replacement, each with all its requests: a repeated question adds no information.
    Questions with equally many requests and equal sums are alike, so a resample only draws the count of each kind.
    """
    _, places = np.unique(np.asarray(questions), return_inverse=True)
    asked = np.stack((np.bincount(places), np.bincount(places, weights=values).astype(int)), axis=1)
    kinds, many = np.unique(asked, axis=0, return_counts=True)
    resampled = rng.multinomial(len(asked), many / len(asked), size=RESAMPLES) @ kinds
    return np.asarray(resampled[:, 1] / resampled[:, 0])


def auroc(scores: Numbers, right: Truths) -> float | None:
    """Returns P(a right answer's score exceeds a wrong answer's), ties counting half; None: only one kind exists."""
    if right.all() or not right.any():
        return None
    from scipy.stats import mannwhitneyu

    wins = mannwhitneyu(scores[right], scores[~right], method="asymptotic").statistic  # the p-value is not used
    return float(wins / (right.sum() * (~right).sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Scores with low ≤ score < high (the last bin includes 1): their mean score and accuracy."""

    low: float
    high: float
    count: int
    score: float | None  # mean; None: the bin is empty
    accuracy: float | None  # None: the bin is empty


def reliability(scores: Numbers, right: Truths) -> tuple[Bin, ...]:
    """Returns the scores in bins of equal width over 0 … 1."""
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        bins.append(
            Bin(
                low=number / BINS,
                high=(number + 1) / BINS,
                count=count,
                score=float(scores[inside].mean()) if count else None,
                accuracy=float(right[inside].mean()) if count else None,
            )
        )
    return tuple(bins)


def calibration_error(bins: Sequence[Bin]) -> float:
    """Returns ECE = Σ (n_b / n) |accuracy_b - score_b|; at least one bin must not be empty."""
    full = [(one.count, one.accuracy, one.score) for one in bins if one.accuracy is not None and one.score is not None]
    return sum(count * abs(accuracy - score) for count, accuracy, score in full) / sum(count for count, _, _ in full)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Thought lengths, tokens. `histogram[i]` counts lengths in i × bin_width … (i + 1) × bin_width - 1."""

    mean: float
    p10: float
    p50: float
    p90: float
    p99: float
    max: int
    bin_width: int
    histogram: tuple[int, ...]


def distribution(lengths: Sequence[int], bin_width: int) -> Distribution:
    """Returns the distribution of lengths; needs at least one length."""
    values = np.asarray(lengths)
    p10, p50, p90, p99 = (float(value) for value in np.percentile(values, [10, 50, 90, 99]))
    counts = np.bincount(values // bin_width)
    return Distribution(
        mean=float(values.mean()),
        p10=p10,
        p50=p50,
        p90=p90,
        p99=p99,
        max=int(values.max()),
        bin_width=bin_width,
        histogram=tuple(int(count) for count in counts),
    )


def width_of_bins(longest: int) -> int:
    """Returns a round bin width, tokens, that gives 15 to 38 bins for lengths up to `longest`."""
    width = 1
    while longest / width > 38:
        digit = int(str(width)[0])
        width = width // digit * {1: 2, 2: 5, 5: 10}[digit]
    return width
