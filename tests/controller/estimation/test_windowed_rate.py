"""The unfiltered arrival rate: a plain mean over its window."""

from __future__ import annotations

import numpy as np
import pytest

from controller.estimation.arrivals import WindowedRate
from controller.estimation.estimator import EstimatorSettings, LoadEstimator


def test_it_is_the_mean_over_the_window() -> None:
    rate = WindowedRate(window_s=10.0, initial_rate=0.2, min_rate=0.005)
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, 200)
    for place, count in enumerate(counts):
        rate.observe(float(count), 0.5)
        if place >= 20:
            assert rate.rate == pytest.approx(counts[place - 19 : place + 1].sum() / 10.0)
            assert rate.sigma == pytest.approx((rate.rate / 10.0) ** 0.5)


def test_counts_longer_than_what_is_left_of_the_window_count_in_part() -> None:
    rate = WindowedRate(window_s=10.0, initial_rate=1.0, min_rate=0.005)
    rate.observe(12.0, 4.0)
    assert rate.rate == pytest.approx((6.0 + 12.0) / 10.0)
    rate.observe(0.0, 8.0)
    assert rate.rate == pytest.approx(6.0 / 10.0)
    rate.observe(None, 100.0)  # nobody counted
    assert rate.rate == pytest.approx(6.0 / 10.0)
    rate.observe(0.0, 50.0)
    assert rate.rate == 0.005


def test_the_estimator_takes_it_where_a_window_is_set() -> None:
    estimator = LoadEstimator(("easy", "hard"), EstimatorSettings(window_s=5.0))
    for _ in range(20):
        estimator.arrivals([1.0, 2.0], 0.5)
    assert estimator.estimate.rate == pytest.approx(6.0)
    with pytest.raises(ValueError, match=r"window_s is 0\.0"):
        EstimatorSettings(window_s=0.0)
