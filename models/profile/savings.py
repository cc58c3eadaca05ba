"""What the replies that were served have saved: an estimate from the profile's measurements, with its interval.

Calibration replayed every question at every operating point, so a class's mean saving at a point is a mean of paired
differences. A reply counts at the point whose limits were in force when its thought ended. Of the replies together,

    Σ n·d̄  with the variance  Σ n·s² + Σ_class (Σ n·s/√N)²,

d̄ and s² the mean and the variance of the differences at a point, N the class's questions: what these replies may
differ by from the mean, and what the mean itself is uncertain by. The means of one class come from the same questions,
so their errors add up. Of a class with a single question, s² is that of all questions together. The estimate holds for
questions like those of the calibration alone.

Seconds are token rows times τ(b)/b: the share of a decode step that a row takes in a batch of b. They are the engine's
time, not a client's, and no time in the queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.profile.plant import StepTime
from models.profile.profile import FIXED, Profile

Array = npt.NDArray[np.float64]

LEVEL = 0.95  # of the intervals
NORMAL = 1.96  # standard deviations on either side at that level


@dataclass(frozen=True, slots=True, kw_only=True)
class PointServed:
    """A place in the profile's tables."""

    difficulty: int  # of the class
    threshold: int  # of the threshold, strictest first
    budget: int  # of the budget, longest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What the replies took less than they would have taken otherwise, estimated; below 0: they took more."""

    share: float  # of the tokens that they would have taken
    tokens: float  # token rows: replies, withdrawn tokens and probes
    tokens_low: float  # lower end of the interval of `tokens`
    tokens_high: float  # upper end
    seconds: float  # of decoding, the engine's: token rows at the step times of the batches that were seen
    seconds_low: float  # lower end of the interval of `seconds`
    seconds_high: float  # upper end


@dataclass(frozen=True, slots=True, kw_only=True)
class Gained:
    """What was saved since the start, estimated from the profile."""

    replies: int  # that are counted: their limits were the policy's alone
    level: float  # of the intervals
    paired: bool  # whether the profile holds paired differences; without them the intervals are wider
    full_thought: Saved  # against thoughts that are neither probed nor closed
    fixed: Saved | None  # against the fixed threshold `fixed_threshold`; None: the profile has no such threshold
    fixed_threshold: float  # that `fixed` is told against


@dataclass(frozen=True, slots=True, eq=False)
class _Against:
    """Differences [class, threshold, budget] to another way of serving the same questions."""

    usual: Array  # [class]: tokens of that way
    mean: Array
    spread: Array  # standard deviation
    error: Array  # standard error of the mean


class Savings:
    """Counts replies by the point at which they were served, and estimates what they saved."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._index = {name: place for place, name in enumerate(profile.classes)}
        self._served: dict[PointServed, tuple[int, float, float]] = {}  # replies, Σ s per row, Σ (s per row)²
        paired = profile.paired
        self._full = _against(profile, 0, None if paired is None else np.array(paired.full_thought))
        self._fixed = None
        if FIXED in profile.thresholds:
            row = profile.thresholds.index(FIXED)
            self._fixed = _against(profile, row, None if paired is None else np.array(paired.fixed))

    def point(self, difficulty: str | None, threshold: float | None, budget: int | None) -> PointServed | None:
        """Returns the measured point for limits: the next stricter one. None: the class or such limits are unknown.

        So limits between two points count as the one that saves less.
        """
        place = self._index.get(difficulty or "")
        row = _stricter(self._profile.thresholds, threshold)
        column = _stricter(self._profile.budgets, budget)
        if place is None or row is None or column is None or (row == 0 and threshold is not None):
            return None  # a threshold above all that were measured costs probes that are not known
        return PointServed(difficulty=place, threshold=row, budget=column)

    def full_steps(self, difficulty: str | None) -> float:
        """Returns the decode steps within which 95 % of a class's full replies end; 0 for an unknown class."""
        place = self._index.get(difficulty or "")
        return 0.0 if place is None else self._profile.p95_steps[place][0][0]

    def count(self, point: PointServed, batch: int, step_time: StepTime | None = None) -> None:
        """Counts a reply that was decoded in a batch of `batch`; `step_time` None: the profile's."""
        step = self._profile.plant.step_time if step_time is None else step_time
        row_s = step.seconds(batch, self._profile.plant.context) / batch
        replies, seconds, squares = self._served.get(point, (0, 0.0, 0.0))
        self._served[point] = replies + 1, seconds + row_s, squares + row_s**2

    @property
    def gained(self) -> Gained | None:
        """The estimate; None: no reply is counted yet."""
        if not self._served:
            return None
        return Gained(
            replies=sum(replies for replies, _, _ in self._served.values()),
            level=LEVEL,
            paired=self._profile.paired is not None,
            full_thought=self._saved(self._full),
            fixed=None if self._fixed is None else self._saved(self._fixed),
            fixed_threshold=FIXED,
        )

    def _saved(self, against: _Against) -> Saved:
        places = np.array([(each.difficulty, each.threshold, each.budget) for each in self._served]).T
        counts, seconds, squares = np.array(list(self._served.values())).T
        d, i, j = places
        mean, spread, error = against.mean[d, i, j], against.spread[d, i, j], against.error[d, i, j]

        def interval(weights: Array, weights_squared: Array) -> tuple[float, float, float]:
            classes = np.bincount(d, weights * error, minlength=len(self._index))  # fully correlated within a class
            width = NORMAL * float(np.sqrt(weights_squared @ spread**2 + np.sum(classes**2)))
            value = float(weights @ mean)
            return value, value - width, value + width

        tokens, tokens_low, tokens_high = interval(counts, counts)
        saved_s, low_s, high_s = interval(seconds, squares)
        return Saved(
            share=tokens / float(counts @ against.usual[d]),
            tokens=tokens,
            tokens_low=tokens_low,
            tokens_high=tokens_high,
            seconds=saved_s,
            seconds_low=low_s,
            seconds_high=high_s,
        )


def _stricter(ladder: Sequence[float | None], value: float | None) -> int | None:
    """Returns the last place on a falling ladder, which begins with None, that is at least `value`; None: none is."""
    if value is None:
        return 0
    return sum(step is None or step >= value for step in ladder) - 1


def _against(profile: Profile, row: int, squares: Array | None) -> _Against:
    """Compares with the threshold in `row` and no budget; `squares` None: no pairs were kept.

    Then the spread is at most the sum of the two points' spreads, whatever the pairs were.
    """
    tokens = np.array(profile.tokens)
    usual = tokens[:, row, 0]
    mean = usual[:, None, None] - tokens
    counts = np.array(profile.counts, dtype=np.float64)[:, None, None]

    def spoken_for(values: Array) -> Array:
        """The values, but those of all classes together where a class has too few questions to show a spread."""
        return np.where(counts < 2.0, np.average(values, axis=0, weights=counts[:, 0, 0]), values)

    if squares is None:
        own = np.sqrt(np.maximum(0.0, spoken_for(np.array(profile.square)) - spoken_for(tokens) ** 2))
        spread = np.where(spoken_for(mean) == 0.0, 0.0, own + own[:, row, 0][:, None, None])
        spread[:, row, 0] = 0.0
    else:
        spread = np.sqrt(np.maximum(0.0, spoken_for(squares) - spoken_for(mean) ** 2))
    shown = np.where(counts < 2.0, counts.sum(), counts)  # questions that show the spread
    spread = spread * np.sqrt(shown / np.maximum(1.0, shown - 1.0))
    questions = np.where(counts > 0.0, counts, counts.sum())  # a class without any has the figures of all
    return _Against(usual=usual, mean=mean, spread=spread, error=spread / np.sqrt(questions))
