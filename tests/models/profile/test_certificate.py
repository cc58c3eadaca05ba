"""Certificates: the exact bound against published and independent values, and how often a certificate is wrong."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from models.profile.certificate import certify, evidence, fewest_questions, upper_bound


@pytest.mark.parametrize(
    ("harmed", "count", "delta", "published"),
    [
        (0, 20, 0.025, 0.1684),  # Clopper and Pearson's 95 % two-sided interval of 0/20: 0 … .1684
        (1, 20, 0.025, 0.2487),
        (0, 100, 0.05, 0.0295),  # the "rule of three", exactly: 1 − .05^(1/100)
        (5, 10, 0.025, 0.8129),
        (10, 100, 0.025, 0.1762),
    ],
)
def test_the_bound_is_that_of_published_tables(harmed: int, count: int, delta: float, published: float) -> None:
    assert upper_bound(harmed, count, delta) == pytest.approx(published, abs=5e-5)


def bisected(harmed: int, count: int, delta: float) -> float:
    """The bound from its definition: the p at which the sum of the binomial probabilities of 0 … harmed is δ."""
    k = np.arange(harmed + 1)
    log_ways = math.lgamma(count + 1) - np.array([math.lgamma(i + 1) + math.lgamma(count - i + 1) for i in k])
    low, high = harmed / count, 1.0
    for _ in range(60):
        p = (low + high) / 2.0
        if p in (low, high):
            break
        at_most = float(np.exp(log_ways + k * math.log(p) + (count - k) * math.log1p(-p)).sum())
        low, high = (p, high) if at_most > delta else (low, p)
    return high


@given(st.integers(1, 3000), st.floats(0.0, 1.0), st.floats(1e-6, 0.5))
def test_the_bound_solves_its_own_definition(count: int, share: float, delta: float) -> None:
    harmed = int(share * count)
    expected = 1.0 if harmed == count else bisected(harmed, count, delta)
    assert upper_bound(harmed, count, delta) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("count", [1, 2, 10, 59, 300, 600, 3000])
def test_the_bound_is_the_bisected_one_from_the_first_harmed_to_the_last_but_one(count: int) -> None:
    for harmed in sorted({0, min(1, count - 1), count // 10, count // 2, count - 1}):
        for delta in (1e-6, 0.001, 0.05 / 7, 0.05, 0.5):
            assert upper_bound(harmed, count, delta) == pytest.approx(bisected(harmed, count, delta), abs=1e-9)


@pytest.mark.parametrize(("harmed", "count"), [(0, 59), (2, 120), (7, 300)])
def test_the_bound_agrees_with_the_exact_binomial_test(harmed: int, count: int) -> None:
    bound = upper_bound(harmed, count, 0.05)
    assert binomtest(harmed, count, bound, alternative="less").pvalue == pytest.approx(0.05, abs=1e-9)


def test_so_many_questions_are_needed_to_certify_anything() -> None:
    assert fewest_questions(0.05, 0.05, 1) == 59  # the textbook's
    assert fewest_questions(0.5, 0.25, 1) == 2  # exactly: (1/2)² = 1/4
    for columns in (1, 2, 7):
        fewest = fewest_questions(0.05, 0.05, columns)
        assert upper_bound(0, fewest, 0.05 / columns) <= 0.05 < upper_bound(0, fewest - 1, 0.05 / columns)
        harmless = np.zeros((3, columns), dtype=np.int64)
        assert all(map(all, certify(harmless, fewest, epsilon=0.05, delta=0.05).certified))
        with pytest.raises(ValueError, match=f"{fewest - 1} questions.*must be at least {fewest}"):
            certify(harmless, fewest - 1, epsilon=0.05, delta=0.05)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.05), (1.0, 0.05), (0.05, 0.0), (0.05, 1.5), (math.nan, 0.05)])
def test_senseless_levels_are_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(ValueError, match=r"must be above 0 and below 1"):
        fewest_questions(epsilon, delta, 1)


def test_a_failure_ends_its_column_and_all_that_lies_beyond() -> None:
    certificate = certify([[0, 0, 0], [0, 50, 0], [0, 0, 0]], 200, epsilon=0.05, delta=0.05)
    assert certificate.certified == ((True, True, True), (True, False, False), (True, False, False))


def test_the_full_thought_needs_no_data_to_be_safe() -> None:
    certificate = certify([[0, 200], [200, 200]], 200, epsilon=0.05, delta=0.05)
    assert certificate.certified == ((True, False), (False, False))
    assert certificate.bounds[0][0] == 0.0


@given(st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=2, max_size=5))
def test_all_corners_within_a_certified_corner_are_certified(rises: list[list[int]]) -> None:
    certified = np.array(certify(rises, 300, epsilon=0.05, delta=0.1).certified)
    for i, j in zip(*np.nonzero(certified), strict=True):
        assert certified[: i + 1, : j + 1].all()


@pytest.mark.parametrize("spread", [0.0, 0.004, 0.02])
def test_a_certificate_is_wrong_no_more_often_than_delta(spread: float) -> None:
    """Nested risks that creep over ε: any certified corner beyond it would be a false promise."""
    epsilon, delta, count, trials = 0.05, 0.1, 400, 2_000
    rng = np.random.default_rng(int(1e4 * spread))
    steps = np.arange(8)[:, None] + 2 * np.arange(4)[None, :]
    risk = epsilon * 1.002 + spread * (steps - 6) / 6  # from below ε to above it, or just above it everywhere
    risk[0, 0] = 0.0
    wrong = 0
    for _ in range(trials):
        place = rng.random(count)  # one draw a question: whoever is harmed stays harmed in larger corners
        harmed = (place[:, None, None] < risk).sum(axis=0)
        wrong += bool(
            (np.array(certify(harmed, count, epsilon=epsilon, delta=delta).certified) & (risk > epsilon)).any()
        )
    assert wrong / trials <= delta + 3 * math.sqrt(delta * (1 - delta) / trials)


def test_clear_safety_is_recognised() -> None:
    """The other side: a test that certifies nothing would never be wrong either."""
    rng = np.random.default_rng(5)
    risk = np.array([[0.0, 0.005], [0.005, 0.01], [0.01, 0.015]])
    for _ in range(50):
        harmed = (rng.random(400)[:, None, None] < risk).sum(axis=0)
        assert all(map(all, certify(harmed, 400, epsilon=0.05, delta=0.05).certified))


@pytest.mark.parametrize(
    ("right", "ended", "epsilon", "told"),
    [
        (0, 300, 0.03, "the full thought is right for 0.0% of the questions, must be for at least 5%"),
        (14, 300, 0.03, "the full thought is right for 4.7% of"),
        (
            30,
            300,
            0.1,
            "the full thought is right for 10.0% of the questions, must be for .* more than the risk of 0.1",
        ),
        (200, 0, 0.03, "0.0% of the full thoughts end by themselves, at least 50% must"),
        (200, 149, 0.03, "49.7% of the full thoughts end"),
        (15, 300, 0.03, None),
        (31, 300, 0.1, None),
        (200, 150, 0.03, None),
    ],
)
def test_a_certificate_of_nothing_is_refused(right: int, ended: int, epsilon: float, told: str | None) -> None:
    harmless = [[0, 0, 0], [0, 0, 0]]
    seen = evidence(right, ended, None, 300, 0.05)
    found = certify(harmless, 300, epsilon=epsilon, delta=0.05, evidence=seen)
    if told is None:
        assert found.refused is None
        assert all(map(all, found.certified))
    else:
        assert re.match(told, found.refused or "")
        assert found.certified == ((True, False, False), (False, False, False))


@given(st.integers(0, 300), st.sampled_from([0.03, 0.1, 0.5]))
def test_exits_that_are_always_wrong_are_never_certified(right: int, epsilon: float) -> None:
    harmed = [[0, right], [right, right]]  # each question that was right is harmed
    seen = evidence(right, 300, None, 300, 0.05)
    found = certify(harmed, 300, epsilon=epsilon, delta=0.05, evidence=seen)
    assert found.certified == ((True, False), (False, False))


def test_the_share_of_exits_that_answer_otherwise_is_bounded_at_all_corners_at_once() -> None:
    seen = evidence(200, 300, [[0, 9], [3, 20]], 300, 0.05)
    found = certify([[0, 0], [0, 60]], 300, epsilon=0.05, delta=0.05, evidence=seen)
    assert seen.differing_bounds is not None
    assert seen.differing_bounds[0] == (0.0, upper_bound(9, 300, 0.0125))
    assert found.differing == upper_bound(9, 300, 0.0125)  # the largest of the certified corners, without the last
    assert certify([[0, 0], [0, 0]], 300, epsilon=0.05, delta=0.05).differing is None
