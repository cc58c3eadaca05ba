"""The load estimator: what it learns from counts, and what it refuses to learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from controller.estimation.arrivals import ArrivalSettings
from controller.estimation.estimator import EstimatorSettings, LoadEstimate, LoadEstimator
from models.files import strict_yaml

CLASSES = ("easy", "medium", "hard")


def estimator(**settings: object) -> LoadEstimator:
    return LoadEstimator(CLASSES, EstimatorSettings(**settings))  # type: ignore[arg-type]


def same(one: LoadEstimate, other: LoadEstimate) -> bool:
    return (
        (one.rate, one.rate_sigma, one.step_time, one.step_time_sigma)
        == (other.rate, other.rate_sigma, other.step_time, other.step_time_sigma)
        and np.array_equal(one.mix, other.mix)
        and np.array_equal(one.work_ratio, other.work_ratio)
        and np.array_equal(one.work_ratio_sigma, other.work_ratio_sigma)
    )


@pytest.mark.slow
def test_rate_and_mix_are_learnt_from_arrivals() -> None:
    learning = estimator(arrivals=ArrivalSettings(initial_rate=1.0))
    rng = np.random.default_rng(0)
    true = np.array([1.2, 0.6, 0.2])
    for _ in range(1200):
        learning.arrivals(rng.poisson(true).tolist(), 1.0)
    estimate = learning.estimate
    assert estimate.rate == pytest.approx(2.0, rel=0.15)
    assert estimate.mix == pytest.approx(true / 2.0, abs=0.04)
    load = estimate.load
    assert load.rate == estimate.rate
    assert load.rates.sum() == pytest.approx(estimate.rate)


def test_the_mix_begins_with_the_prior_and_returns_to_it_when_nothing_comes() -> None:
    learning = estimator(initial_mix=(0.5, 0.3, 0.2))
    assert learning.estimate.mix == pytest.approx([0.5, 0.3, 0.2])
    learning.arrivals([0, 0, 30], 10.0)
    assert learning.estimate.mix[2] == pytest.approx(0.6, abs=0.01)
    for _ in range(100):
        learning.arrivals([0, 0, 0], 60.0)
    assert learning.estimate.mix == pytest.approx([0.5, 0.3, 0.2], abs=0.01)


def test_work_ratios_are_learnt_from_what_finished() -> None:
    learning = estimator()
    rng = np.random.default_rng(1)
    for _ in range(400):
        predicted = float(rng.uniform(200, 4000))
        learning.finished("hard", predicted * 1.6 * float(rng.lognormal(-0.18, 0.6)), predicted)
    estimate = learning.estimate
    assert estimate.work_ratio[2] == pytest.approx(1.6, rel=0.2)
    assert abs(estimate.work_ratio[2] - 1.6) < 3 * estimate.work_ratio_sigma[2]
    assert estimate.work_ratio[:2].tolist() == [1.0, 1.0]
    assert estimate.work_ratio_sigma[2] < estimate.work_ratio_sigma[0]


def test_one_endless_request_does_not_overturn_a_work_ratio() -> None:
    learning = estimator()
    learning.finished("easy", 100_000.0, 100.0)
    assert learning.estimate.work_ratio[0] <= 10.0
    for _ in range(200):
        learning.finished("easy", 100.0, 100.0)
    assert learning.estimate.work_ratio[0] == pytest.approx(1.0, rel=0.1)


def test_step_times_are_learnt_from_steps() -> None:
    learning = estimator()
    rng = np.random.default_rng(2)
    for _ in range(500):
        batch = int(rng.integers(1, 9))
        learning.step(batch, 500.0, 0.003 + 0.001 * batch)
    assert learning.estimate.step_time.seconds(4, 500.0) == pytest.approx(0.007, rel=0.03)


@pytest.mark.parametrize(
    "measure",
    [
        lambda e: e.arrivals([1, 0, 0], 0.0),
        lambda e: e.arrivals([1, 0, 0], -3.0),  # the clock was set back
        lambda e: e.arrivals([1, 0, 0], math.nan),
        lambda e: e.arrivals([1, 0, 0], math.inf),
        lambda e: e.arrivals([-1, 0, 0], 1.0),
        lambda e: e.arrivals([math.nan, 0, 0], 1.0),
        lambda e: e.arrivals(None, -1.0),
        lambda e: e.finished("easy", math.nan, 100.0),
        lambda e: e.finished("easy", -1.0, 100.0),
        lambda e: e.finished("easy", 100.0, 0.0),
        lambda e: e.finished("easy", 100.0, math.inf),
        lambda e: e.step(0, 100.0, 0.01),
        lambda e: e.step(4, -1.0, 0.01),
        lambda e: e.step(4, 100.0, 0.0),
        lambda e: e.step(4, 100.0, math.nan),
        lambda e: e.step(4, math.inf, 0.01),
    ],
)
def test_a_measurement_that_cannot_be_changes_nothing_but_its_count(
    measure: Callable[[LoadEstimator], None],
) -> None:
    learning = estimator()
    learning.arrivals([1, 2, 3], 1.0)
    learning.finished("easy", 80.0, 100.0)
    learning.step(3, 100.0, 0.012)
    before = learning.estimate
    measure(learning)
    assert learning.rejected == 1
    assert same(before, learning.estimate)
    sound = estimator()
    sound.arrivals([1, 2, 3], 1.0)
    sound.finished("easy", 80.0, 100.0)
    sound.step(3, 100.0, 0.012)
    for either in (learning, sound):  # nothing that waits to be filtered was spoilt either
        either.arrivals([0, 1, 0], 9.0)
        either.finished("easy", 120.0, 100.0)
        either.step(2, 100.0, 0.011)
    assert same(learning.estimate, sound.estimate)


def test_a_tick_that_nobody_counted_keeps_rate_and_shares() -> None:
    learning = estimator()
    learning.arrivals([2, 2, 2], 1.0)
    before = learning.estimate
    learning.arrivals(None, 1.0)
    assert learning.estimate.rate == before.rate
    assert learning.estimate.mix == pytest.approx(before.mix, abs=1e-3)
    assert learning.rejected == 0


def test_what_a_caller_got_wrong_is_said() -> None:
    learning = estimator()
    with pytest.raises(ValueError, match="counts has 2 entries, must have 3"):
        learning.arrivals([1, 2], 1.0)
    with pytest.raises(ValueError, match="difficulty is 'huge', must be one of easy, medium, hard"):
        learning.finished("huge", 1.0, 1.0)
    with pytest.raises(ValueError, match="initial_mix has 2 entries, must have 3 or none"):
        estimator(initial_mix=(0.5, 0.5))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mix_s": 0.0}, "mix_s is 0.0, must be finite and above 0"),
        ({"work_drift": math.nan}, "work_drift is nan"),
        ({"least_work": 2.0}, "least_work and most_work are 2.0 and 10.0"),
        ({"initial_mix": (0.5, 0.6)}, "initial_mix sums to 1.1, must be 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EstimatorSettings(**change)  # type: ignore[arg-type]


def test_settings_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "estimator.yaml"
    path.write_text("mix_s: 600\narrivals:\n  initial_rate: 3\nstep_time:\n  initial: {a: 0.003, c: 0.001}\n")
    read = strict_yaml.read(path, EstimatorSettings)
    assert (read.mix_s, read.arrivals.initial_rate, read.step_time.initial.c) == (600.0, 3.0, 0.001)
