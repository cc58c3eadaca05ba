"""The plant against a simulation that counts every token, and against its own limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.analysis.token_simulation import Measured, simulate
from models.profile.plant import Plant, StepTime, mean_context

GPU = StepTime(a=0.010, c=0.0005)
CPU = StepTime(a=0.003, c=0.001)
LONG = StepTime(a=0.010, c=0.0005, g=1e-7)  # cached tokens cost too

plants = st.builds(
    Plant,
    step_time=st.builds(StepTime, a=st.floats(1e-4, 0.1), c=st.floats(1e-5, 0.01), g=st.floats(0.0, 1e-6)),
    max_batch=st.integers(1, 64),
    context=st.floats(0.0, 10_000.0),
    cv2=st.floats(0.0, 10.0),
)


def served(
    step_time: StepTime, max_batch: int, load: float, *, sigma: float, requests: int, seed: int = 1, prompt: int = 0
) -> tuple[Plant, float, float, Measured]:
    """A plant, its rate and demand at `load`, and Poisson arrivals of lognormal lengths simulated at that rate."""
    rng = np.random.default_rng(seed)
    mean = 600.0
    tokens = np.maximum(1, np.round(rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, requests))).astype(np.int64)
    cv2 = float(tokens.var() / tokens.mean() ** 2)
    context = mean_context(np.full(requests, prompt), tokens)
    plant = Plant(step_time=step_time, max_batch=max_batch, context=context, cv2=cv2)
    demand = load * plant.capacity
    rate = demand / float(tokens.mean())
    gaps = rng.exponential(1.0, requests)
    arrivals = np.cumsum(gaps / gaps.mean()) / rate
    measured = simulate(step_time=step_time, max_batch=max_batch, arrivals=arrivals, tokens=tokens, prompt=prompt)
    return plant, rate, demand, measured


@pytest.mark.parametrize("load", [0.1, 0.3, 0.5, 0.65, 0.78])
@pytest.mark.parametrize(
    ("step_time", "max_batch", "sigma", "prompt"),
    [
        pytest.param(GPU, 16, 0.7, 0, id="gpu"),
        pytest.param(CPU, 8, 0.7, 0, id="cpu"),
        pytest.param(LONG, 16, 0.7, 300, id="long-context"),
        pytest.param(GPU, 16, 0.2, 0, id="equal-lengths"),
    ],
)
def test_the_mean_number_in_the_system_agrees_with_a_simulation(
    step_time: StepTime, max_batch: int, sigma: float, prompt: int, load: float
) -> None:
    plant, _, demand, measured = served(step_time, max_batch, load, sigma=sigma, prompt=prompt, requests=40_000)
    assert plant.in_system(demand) == pytest.approx(measured.in_system, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.3, 0.6, 0.78])
@pytest.mark.parametrize(
    ("step_time", "max_batch", "error", "miss"),
    [pytest.param(GPU, 16, 0.02, 0.02, id="gpu"), pytest.param(CPU, 8, 0.06, 0.05, id="cpu")],
)
def test_p95_and_attainment_agree_with_a_simulation(
    step_time: StepTime, max_batch: int, error: float, miss: float, load: float
) -> None:
    plant, rate, demand, measured = served(step_time, max_batch, load, sigma=0.7, requests=100_000)
    p95 = plant.latency_quantile(demand, rate, measured.tokens, 0.95)
    assert p95 == pytest.approx(np.quantile(measured.latency, 0.95), rel=error)
    for slo in np.quantile(measured.latency, [0.5, 0.8, 0.95]):
        share = np.mean(measured.latency <= slo)
        assert plant.attainment(demand, rate, measured.tokens, slo) == pytest.approx(share, abs=miss)


@given(plants)
@settings(deadline=None, max_examples=40)
def test_more_demand_never_takes_less_and_n_is_convex(plant: Plant) -> None:
    demands = plant.capacity * np.linspace(0.0, 0.97, 60)
    numbers = np.array([plant.in_system(demand) for demand in demands])
    slopes = np.array([plant.slope(demand) for demand in demands])
    scale = slopes.max()
    assert np.all(np.diff(numbers) >= 0.0)
    assert np.all(np.diff(slopes) >= -1e-9 * scale)


@given(plants, st.floats(0.01, 0.96))
@settings(deadline=None, max_examples=40)
def test_the_slope_is_the_derivative(plant: Plant, load: float) -> None:
    demand, step = load * plant.capacity, 1e-5 * plant.capacity
    difference = (plant.in_system(demand + step) - plant.in_system(demand - step)) / (2 * step)
    assert plant.slope(demand) == pytest.approx(difference, rel=1e-3)


@pytest.mark.slow
@given(plants)
@settings(deadline=None, max_examples=40)
def test_no_line_ever_exceeds_n(plant: Plant) -> None:
    lines = plant.lines()
    for demand in plant.capacity * np.linspace(0.0, 0.99, 50):
        number = plant.in_system(demand)
        assert lines.highest(demand) <= number * (1.0 + 1e-6) + 1e-9


@pytest.mark.parametrize(("step_time", "max_batch"), [(GPU, 16), (CPU, 8), (LONG, 16), (GPU, 64)])
@pytest.mark.parametrize("cv2", [0.25, 1.0, 2.0])
def test_the_lines_are_within_one_percent_of_n(step_time: StepTime, max_batch: int, cv2: float) -> None:
    plant = Plant(step_time=step_time, max_batch=max_batch, context=2000.0, cv2=cv2)
    lines = plant.lines()
    demands = np.linspace(0.001, 1.0, 400) * lines.max_demand
    worst = max(1.0 - lines.highest(demand) / plant.in_system(demand) for demand in demands)
    assert worst <= 0.01


def test_one_sequence_at_a_time_is_pollaczek_and_khinchine() -> None:
    plant = Plant(step_time=StepTime(a=0.01, c=0.002), max_batch=1, cv2=2.5)
    for rho in (0.1, 0.5, 0.9):
        expected = rho + rho**2 / (1 - rho) * (1 + 2.5) / 2
        assert plant.in_system(rho * plant.capacity) == pytest.approx(expected)


def test_equal_rates_are_erlang_c() -> None:
    plant = Plant(step_time=StepTime(a=0.01, c=0.0), max_batch=4, cv2=1.0)  # each sequence at 100 tokens/s: M/M/4
    offered = 3.0
    full = offered**4 / 24 / (1 - offered / 4)
    delayed = full / (sum(offered**n / math.factorial(n) for n in range(4)) + full)
    assert plant.in_system(300.0) == pytest.approx(offered + delayed * (offered / 4) / (1 - offered / 4))


def test_an_idle_plant_decodes_at_the_pace_of_one_sequence() -> None:
    plant = Plant(step_time=LONG, max_batch=16, context=1000.0)
    alone = LONG.seconds(1, 1000.0)
    assert plant.in_system(0.0) == 0.0
    assert plant.slope(0.0) == pytest.approx(alone)
    assert plant.effective_step(0.0) == pytest.approx(alone)
    assert plant.effective_step(1e-6) == pytest.approx(alone)
    assert plant.latency(1e-6, 1e-9) == pytest.approx(1000 * alone, rel=1e-4)
    assert plant.attainment(0.0, 0.0, [100, 300], 200 * alone) == 0.5


def test_the_rate_grows_to_the_capacity_and_no_further() -> None:
    plant = Plant(step_time=GPU, max_batch=16)
    rates = [plant.rate(n) for n in range(40)]
    assert rates[0] == 0.0
    assert rates == sorted(rates)
    assert rates[16] == rates[39] == plant.capacity == pytest.approx(16 / 0.018)


def test_steps_within_a_time_shrink_with_the_batch_and_with_the_queue_before_it() -> None:
    plant = Plant(step_time=StepTime(a=0.01, c=0.001), max_batch=4)
    assert plant.steps_within(1.1, 1, tokens=100.0) == pytest.approx(100.0)  # 11 ms each
    assert plant.steps_within(1.4, 4, tokens=100.0) == pytest.approx(100.0)  # 14 ms each
    assert plant.steps_within(1.4, 6, tokens=100.0) == pytest.approx(50.0)  # two wait: 200 tokens at 4 in 14 ms
    assert plant.steps_within(1.4, 400, tokens=100.0) == 0.0


def test_mean_context_weighs_each_step() -> None:
    prompt, reply = 10, 5
    cached = [prompt + done for done in range(reply)]
    assert mean_context([prompt], [reply]) == pytest.approx(np.mean(cached) + 0.5)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: StepTime(a=-1.0, c=0.0), "a is -1.0 s, must be finite and at least 0"),
        (lambda: StepTime(a=math.nan, c=0.0), "a is nan"),
        (lambda: StepTime(a=0.0, c=0.0, g=1e-7), "a \\+ c is 0.0 s"),
        (lambda: Plant(step_time=GPU, max_batch=0), "max_batch is 0, must be at least 1"),
        (lambda: Plant(step_time=GPU, max_batch=1, cv2=-0.5), "cv2 is -0.5"),
        (lambda: Plant(step_time=GPU, max_batch=16).in_system(900.0), "demand is 900.0 tokens/s.*capacity 888.889"),
        (lambda: Plant(step_time=GPU, max_batch=16).in_system(-1.0), "demand is -1.0"),
        (lambda: Plant(step_time=GPU, max_batch=16).in_system(math.nan), "demand is nan"),
        (lambda: Plant(step_time=GPU, max_batch=16).rate(-1), "n is -1"),
        (lambda: Plant(step_time=GPU, max_batch=16).latency(10.0, 0.0), "rate is 0.0 requests/s"),
        (lambda: Plant(step_time=GPU, max_batch=16).attainment(10.0, 0.0, [1], 1.0), "rate is 0.0 requests/s"),
        (lambda: Plant(step_time=GPU, max_batch=16).latency_quantile(10.0, 1.0, [1], 1.0), "share is 1.0"),
        (lambda: Plant(step_time=GPU, max_batch=16).lines(max_load=1.0), "max_load is 1.0"),
        (lambda: Plant(step_time=GPU, max_batch=16).lines(count=1), "count is 1, must be at least 2"),
        (lambda: mean_context([3], [0]), "0 tokens together"),
    ],
)
def test_what_cannot_be_is_refused_with_value_and_limit(act: object, words: str) -> None:
    assert callable(act)
    with pytest.raises(ValueError, match=words):
        act()
