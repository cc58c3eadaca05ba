"""What replies have saved: the mean of paired differences, and an interval that holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.profile.plant import StepTime
from models.profile.profile import FILE_NAME, PairedSquares, Profile, read_profile
from models.profile.savings import NORMAL, Saved, Savings
from models.reasoner import bundled_model
from tests.support.model_profile import PROFILE

STEP = StepTime(a=1e-3, c=1e-4)


def measured(rows: np.ndarray, classes: np.ndarray) -> Profile:
    """The profile of questions with these token rows [question, threshold, budget] and classes."""

    def table(values: np.ndarray) -> tuple[tuple[tuple[float, ...], ...], ...]:
        means = [values[classes == place].mean(axis=0) for place in range(2)]
        return tuple(tuple(map(tuple, each.tolist())) for each in means)

    return replace(
        PROFILE,
        counts=(int(np.sum(classes == 0)), int(np.sum(classes == 1))),
        tokens=table(rows),
        square=table(rows**2),
        paired=PairedSquares(
            full_thought=table((rows[:, :1, :1] - rows) ** 2), fixed=table((rows[:, 1:2, :1] - rows) ** 2)
        ),
    )


def drawn(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Token rows of questions: long and short thoughts, of which thresholds and the budget cut off shares that vary."""
    classes = (rng.random(count) < 0.4).astype(int)
    full = np.exp(rng.normal(5.0 + classes, 0.5, count))
    rows = np.empty((count, 3, 2))
    for row, least in enumerate((1.0, 0.6, 0.3)):
        rows[:, row, 0] = full * (1.0 if row == 0 else rng.uniform(least, 1.05, count))
    rows[:, :, 1] = np.minimum(rows[:, :, 0], 120.0)
    return rows, classes


def saved(savings: Savings) -> Saved:
    found = savings.gained
    assert found is not None
    return found.full_thought


def test_what_is_saved_is_the_mean_of_the_differences_and_its_error_worked_out_by_hand() -> None:
    rows = np.full((4, 3, 2), 100.0)
    rows[:, 2, 0] = 70.0, 50.0, 80.0, 60.0  # easy: saves 30 and 50, hard: 20 and 40
    savings = Savings(measured(rows, np.array([0, 0, 1, 1])))
    for name, replies in (("easy", 3), ("hard", 1)):
        for _ in range(replies):
            point = savings.point(name, 0.8, None)
            assert point is not None
            savings.count(point, 2, STEP)
    found = saved(savings)
    assert found.tokens == pytest.approx(3 * 40.0 + 30.0)
    assert found.share == pytest.approx(150.0 / 400.0)
    variance = 200.0  # of 30 and 50, and of 20 and 40
    width = NORMAL * math.sqrt(4 * variance + (3**2 + 1) * variance / 2)
    assert (found.tokens_low, found.tokens_high) == pytest.approx((150.0 - width, 150.0 + width))
    row_s = (1e-3 + 2e-4) / 2  # of a step of two
    assert (found.seconds, found.seconds_high) == pytest.approx((150.0 * row_s, (150.0 + width) * row_s))


@pytest.mark.parametrize("paired", [True, False])
def test_a_class_with_one_question_has_the_spread_of_all_of_them(*, paired: bool) -> None:
    rows = np.full((4, 3, 2), 100.0)
    rows[:, 2, 0] = 70.0, 50.0, 80.0, 60.0  # the last question is alone in its class: saves 40
    profile = measured(rows, np.array([0, 0, 0, 1]))
    savings = Savings(profile if paired else replace(profile, paired=None))
    point = savings.point("hard", 0.8, None)
    assert point is not None
    for _ in range(3):
        savings.count(point, 2, STEP)
    found = saved(savings)
    variance = float(np.var([30.0, 50.0, 20.0, 40.0], ddof=1))  # full thoughts are all alike, so that pairs add nothing
    width = NORMAL * math.sqrt(3 * variance + 3**2 * variance)
    assert (found.tokens, found.tokens_high) == pytest.approx((120.0, 120.0 + width))


def test_the_interval_covers_what_was_saved_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered: list[bool] = []
    bounded: list[bool] = []
    for _ in range(200):
        known = measured(*drawn(rng, 150))
        rows, classes = drawn(rng, 60)
        places = rng.integers(3, size=60), rng.integers(2, size=60)
        truth = float(np.sum(rows[:, 0, 0] - rows[np.arange(60), places[0], places[1]]))
        for profile, hits in ((known, covered), (replace(known, paired=None), bounded)):
            savings = Savings(profile)
            for one, row, column in zip(classes, *places, strict=True):
                point = savings.point(("easy", "hard")[one], profile.thresholds[row], profile.budgets[column])
                assert point is not None
                savings.count(point, 1, STEP)
            found = saved(savings)
            hits.append(found.tokens_low <= truth <= found.tokens_high)
    assert 0.91 <= np.mean(covered) <= 0.985  # of 200: 0.95 ± 0.03
    assert np.mean(bounded) >= np.mean(covered)  # without pairs the interval is wider


@pytest.mark.parametrize(
    ("threshold", "budget", "place"),
    [
        (None, None, (0, 0)),
        (0.8, None, (2, 0)),
        (0.85, None, (1, 0)),  # between two points: the stricter one
        (0.1, 5, (2, 1)),
        (0.95, 200, (1, 0)),
        (0.96, None, None),  # above all that were measured
    ],
)
def test_limits_count_at_the_next_stricter_point(
    threshold: float | None, budget: int | None, place: tuple[int, int] | None
) -> None:
    found = Savings(PROFILE).point("hard", threshold, budget)
    assert (found and (found.threshold, found.budget)) == place


def test_a_class_that_the_profile_does_not_know_is_not_counted() -> None:
    savings = Savings(PROFILE)
    assert savings.point(None, 0.8, None) is None
    assert savings.point("other", 0.8, None) is None
    assert savings.gained is None


def bundled() -> Profile:
    return read_profile(bundled_model() / FILE_NAME)


def test_the_bundled_profile_tells_what_its_thresholds_save_within_a_few_per_cent() -> None:
    profile = bundled()
    savings = Savings(profile)
    for name in profile.classes:
        for _ in range(200):
            point = savings.point(name, 0.8, None)
            assert point is not None
            savings.count(point, 8)
    gained = savings.gained
    assert gained is not None
    assert gained.paired
    assert gained.replies == 600
    full, fixed = gained.full_thought, gained.fixed
    assert fixed is not None
    row = profile.thresholds.index(0.8)
    tokens = np.array(profile.tokens)
    assert full.tokens == pytest.approx(200 * float(np.sum(tokens[:, 0, 0] - tokens[:, row, 0])))
    assert 0.3 < full.share < 0.45  # the model's card: 37 %
    assert (full.tokens_high - full.tokens_low) / full.tokens < 0.25
    assert fixed.tokens < full.tokens
    assert full.seconds / full.tokens == pytest.approx(
        profile.plant.step_time.seconds(8, profile.plant.context) / 8
    )  # no time in a queue


@pytest.mark.parametrize(
    "against", [lambda paired: paired.full_thought, lambda paired: paired.fixed], ids=["full thought", "fixed"]
)
def test_the_bundled_profile_s_pairs_are_possible(against: Callable[[PairedSquares], object]) -> None:
    """A mean square is at least the square of the mean, and a point differs from itself by nothing."""
    profile = bundled()
    assert profile.paired is not None
    squares, tokens = np.array(against(profile.paired)), np.array(profile.tokens)
    row = 0 if against(profile.paired) is profile.paired.full_thought else profile.thresholds.index(0.95)
    assert np.all(squares >= (tokens - tokens[:, row, 0][:, None, None]) ** 2 - 1e-6)
    assert np.all(squares[:, row, 0] == 0.0)
