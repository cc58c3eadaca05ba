"""Statistics against their direct definitions."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.statistics import (
    BINS,
    auroc,
    calibration_error,
    difference,
    distribution,
    interval,
    proportion,
    reliability,
    width_of_bins,
)

SCORED = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=40)
COARSE = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=30)
ANSWERED = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


def columns(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([value for value, _ in pairs]), np.array([right for _, right in pairs], dtype=bool)


@given(COARSE)
def test_auroc_is_the_share_of_right_wrong_pairs_that_are_ordered(pairs: list[tuple[float, bool]]) -> None:
    rights = [score for score, right in pairs if right]
    wrongs = [score for score, right in pairs if not right]
    found = auroc(*columns(pairs))
    if not rights or not wrongs:
        assert found is None
        return
    wins = sum((a > b) + 0.5 * (a == b) for a in rights for b in wrongs)
    assert found == pytest.approx(wins / (len(rights) * len(wrongs)))


@given(SCORED)
def test_the_calibration_error_is_the_mean_gap_between_score_and_accuracy(pairs: list[tuple[float, bool]]) -> None:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for score, right in pairs:
        bins.setdefault(min(math.floor(score * BINS), BINS - 1), []).append((score, right))
    gaps = [abs(sum(right for _, right in found) - sum(score for score, _ in found)) for found in bins.values()]
    assert calibration_error(reliability(*columns(pairs))) == pytest.approx(sum(gaps) / len(pairs))


@given(SCORED)
def test_every_score_is_in_exactly_one_bin(pairs: list[tuple[float, bool]]) -> None:
    bins = reliability(*columns(pairs))
    assert len(bins) == BINS
    assert sum(one.count for one in bins) == len(pairs)
    for one in bins:
        assert (one.score is None) == (one.accuracy is None) == (one.count == 0)
        assert one.score is None or one.low - 1e-9 <= one.score <= one.high + 1e-9


def test_a_score_that_is_always_as_sure_as_right_has_no_calibration_error() -> None:
    assert calibration_error(reliability(np.full(10, 0.7), np.arange(10) < 7)) == pytest.approx(0.0)


def test_the_interval_of_a_proportion_is_wilsons() -> None:
    assert interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I, example (a)


@given(st.integers(1, 500).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_wilsons_interval_solves_its_own_equation(case: tuple[int, int]) -> None:
    right, count = case
    share = right / count
    z = NormalDist().inv_cdf(0.975)
    for end in interval(right, count):
        assert (share - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / count, abs=1e-12)


def test_a_proportion_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 values, needs at least 1"):
        proportion([])


@given(ANSWERED)
def test_a_difference_counts_lost_and_gained_and_turns_round_with_its_sides(answered: list[tuple[bool, bool]]) -> None:
    before, now = (np.array(side, dtype=bool) for side in zip(*answered, strict=True))
    there = difference(before, now, np.random.default_rng(1))
    back = difference(now, before, np.random.default_rng(1))
    assert there.lost == back.gained == sum(a and not b for a, b in answered)
    assert there.gained == back.lost == sum(b and not a for a, b in answered)
    assert there.points_lost == pytest.approx(100.0 * (before.mean() - now.mean()))
    assert there.low <= there.high


def test_the_bootstrap_is_that_of_questions_drawn_with_replacement() -> None:
    rng = np.random.default_rng(5)
    before, now = rng.random(150) < 0.9, rng.random(150) < 0.8
    drawn = rng.integers(0, 150, (20_000, 150))
    direct = np.percentile(100.0 * (before[drawn].mean(axis=1) - now[drawn].mean(axis=1)), [2.5, 97.5])
    found = difference(before, now, rng)
    assert (found.low, found.high) == pytest.approx(tuple(direct), abs=1.0)
    assert found.low < found.points_lost < found.high


def test_questions_that_repeat_tell_nothing_new() -> None:
    rng = np.random.default_rng(5)
    before, now = rng.random(150) < 0.9, rng.random(150) < 0.8
    once = difference(before, now, np.random.default_rng(1))
    often = difference(np.tile(before, 9), np.tile(now, 9), np.random.default_rng(1), np.tile(np.arange(150), 9))
    naive = difference(np.tile(before, 9), np.tile(now, 9), np.random.default_rng(1))
    assert (often.points_lost, often.low, often.high) == pytest.approx((once.points_lost, once.low, once.high), abs=1.0)
    assert naive.high - naive.low < 0.5 * (often.high - often.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    before, now = np.arange(50) < 40, np.arange(50) >= 15
    assert difference(before, now, np.random.default_rng(7)) == difference(before, now, np.random.default_rng(7))


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=60))
def test_a_distribution_counts_every_length_once(lengths: list[int]) -> None:
    width = width_of_bins(max(lengths))
    found = distribution(lengths, width)
    assert [*found.histogram] == [
        sum(i * width <= length < (i + 1) * width for length in lengths) for i in range(len(found.histogram))
    ]
    assert sum(found.histogram) == len(lengths)
    assert found.max == max(lengths)
    assert found.p10 <= found.p50 <= found.p90 <= found.p99 <= found.max
    assert found.mean == pytest.approx(sum(lengths) / len(lengths))


@pytest.mark.parametrize(("longest", "width"), [(0, 1), (38, 1), (39, 2), (190, 5), (286, 10), (8_000, 500)])
def test_bins_are_round_and_not_too_many(longest: int, width: int) -> None:
    assert width_of_bins(longest) == width
