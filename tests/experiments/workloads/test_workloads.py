"""Generated workloads: their means, their burstiness, their shape over time, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.workloads import Diurnal, FlashCrowd, Gamma, Mmpp, Poisson, Step, Workload, WorkloadError

EVERY = [
    Poisson(rate=5.0),
    Gamma(rate=5.0, cv=3.0),
    Gamma(rate=5.0, cv=0.3),
    Mmpp(rate=5.0, burst=4.0, calm_s=20.0, burst_s=10.0),
    Step(rate=5.0, factor=3.0, at_s=100.0, until_s=200.0),
    Diurnal(rate=5.0, swing=0.8, period_s=100.0),
    FlashCrowd(rate=5.0, peak=6.0, at_s=100.0),
]


@pytest.mark.parametrize("workload", EVERY, ids=repr)
def test_arrivals_are_sorted_lie_in_the_duration_and_depend_on_the_seed_alone(workload: Workload) -> None:
    first, again, other = (workload.arrivals(300.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.all(np.diff(first) >= 0.0)
    assert 0.0 <= first[0] <= first[-1] < 300.0
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("workload", [w for w in EVERY if not isinstance(w, Step | FlashCrowd)], ids=repr)
def test_the_mean_rate_is_the_one_asked_for(workload: Workload) -> None:
    counts = [workload.arrivals(1000.0, np.random.default_rng(seed)).size for seed in range(40)]
    error = np.std(counts) / math.sqrt(len(counts))
    assert abs(np.mean(counts) - 5000.0) < 4.0 * error


@pytest.mark.parametrize("cv", [0.2, 1.0, 2.0, 5.0])
def test_gamma_gaps_have_the_coefficient_of_variation_asked_for(cv: float) -> None:
    gaps = np.diff(Gamma(rate=2.0, cv=cv).arrivals(50_000.0, np.random.default_rng(0)))
    assert np.std(gaps) / np.mean(gaps) == pytest.approx(cv, rel=0.1)


def test_bursty_arrivals_are_as_many_at_the_beginning_as_later() -> None:
    """A process that began with an arrival would bring (cv² − 1)/2 = 24 more in its first seconds."""
    workload = Gamma(rate=1.0, cv=7.0)
    counts = [workload.arrivals(20.0, np.random.default_rng(seed)).size for seed in range(4000)]
    error = np.std(counts) / math.sqrt(len(counts))
    assert abs(np.mean(counts) - 20.0) < 4.0 * error


def test_calm_and_bursts_differ_in_rate_by_the_factor() -> None:
    """Over windows much shorter than its phases, counts of an MMPP vary as its two rates do."""
    workload = Mmpp(rate=10.0, burst=9.0, calm_s=300.0, burst_s=100.0)
    times = workload.arrivals(100_000.0, np.random.default_rng(3))
    counts = np.bincount((times // 10.0).astype(int))
    calm = 10.0 * 400.0 / (300.0 + 9.0 * 100.0)
    rate = np.where(counts / 10.0 > 3.0 * calm, 9.0 * calm, calm)
    assert np.mean(counts[rate == calm]) / 10.0 == pytest.approx(calm, rel=0.05)
    assert np.mean(counts[rate > calm]) / 10.0 == pytest.approx(9.0 * calm, rel=0.05)
    assert np.mean(rate > calm) == pytest.approx(0.25, abs=0.03)


def rate_between(workload: Workload, begin: float, end: float) -> float:
    """Requests/s there, over many seeds."""
    rng = np.random.default_rng(5)
    return float(
        np.mean([np.sum((t >= begin) & (t < end)) for t in (workload.arrivals(end, rng) for _ in range(200))])
    ) / (end - begin)


def test_a_step_goes_up_and_comes_back() -> None:
    step = Step(rate=4.0, factor=2.5, at_s=50.0, until_s=80.0)
    assert rate_between(step, 0.0, 50.0) == pytest.approx(4.0, rel=0.05)
    assert rate_between(step, 50.0, 80.0) == pytest.approx(10.0, rel=0.05)
    assert rate_between(step, 80.0, 120.0) == pytest.approx(4.0, rel=0.05)
    assert rate_between(Step(rate=4.0, factor=0.0, at_s=50.0), 50.0, 90.0) == 0.0


def test_a_diurnal_rate_is_lowest_at_the_beginning_of_a_period_and_highest_in_its_middle() -> None:
    day = Diurnal(rate=10.0, swing=0.5, period_s=400.0)
    assert rate_between(day, 0.0, 20.0) == pytest.approx(5.0, rel=0.05)
    assert rate_between(day, 190.0, 210.0) == pytest.approx(15.0, rel=0.05)


def test_a_flash_crowd_rises_holds_and_dies_away() -> None:
    crowd = FlashCrowd(rate=4.0, peak=5.0, at_s=40.0, rise_s=10.0, hold_s=20.0, decay_s=10.0)
    assert rate_between(crowd, 0.0, 40.0) == pytest.approx(4.0, rel=0.05)
    assert rate_between(crowd, 40.0, 50.0) == pytest.approx(12.0, rel=0.05)
    assert rate_between(crowd, 50.0, 70.0) == pytest.approx(20.0, rel=0.05)
    assert rate_between(crowd, 70.0, 80.0) == pytest.approx(4.0 + 16.0 * (1.0 - math.exp(-1.0)), rel=0.05)


@given(rate=st.floats(0.01, 20.0), duration=st.floats(0.1, 100.0), seed=st.integers(0, 99), cv=st.floats(0.1, 15.0))
def test_any_gamma_is_sorted_and_within_its_duration(rate: float, duration: float, seed: int, cv: float) -> None:
    times = Gamma(rate=rate, cv=cv).arrivals(duration, np.random.default_rng(seed))
    assert np.all(np.diff(times) >= 0.0)
    assert np.all((times >= 0.0) & (times < duration))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Poisson(rate=0.0), "rate is 0.0, must be finite and above 0"),
        (lambda: Poisson(rate=5e-324), "rate is 5e-324, must be at least 1e-09"),
        (lambda: Poisson(rate=math.nan), "rate is nan"),
        (lambda: Gamma(rate=1.0, cv=-1.0), "cv is -1.0, must be finite and above 0"),
        (lambda: Mmpp(rate=1.0, burst=0.5), "burst is 0.5, must be finite and at least 1"),
        (lambda: Mmpp(rate=1.0, calm_s=0.0), "calm_s is 0.0"),
        (lambda: Step(rate=1.0, factor=2.0, at_s=10.0, until_s=10.0), "until_s is 10.0, must be finite and above 10"),
        (lambda: Diurnal(rate=1.0, swing=1.5), r"swing is 1.5, must lie in \[0, 1\]"),
        (lambda: FlashCrowd(rate=1.0, peak=0.5, at_s=0.0), "peak is 0.5, must be finite and at least 1"),
        (lambda: FlashCrowd(rate=1.0, peak=2.0, at_s=0.0, decay_s=0.0), "decay_s is 0.0"),
    ],
)
def test_what_cannot_be_is_refused_with_value_and_limit(make: Callable[[], Workload], said: str) -> None:
    with pytest.raises(WorkloadError, match=said):
        make()


@pytest.mark.parametrize("workload", EVERY, ids=repr)
def test_a_duration_out_of_reach_is_refused(workload: Workload) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(WorkloadError, match=r"duration_s is 0\.0, must be finite and above 0"):
        workload.arrivals(0.0, rng)
    with pytest.raises(WorkloadError, match="must be at most 10000000"):
        workload.arrivals(1e8, rng)
