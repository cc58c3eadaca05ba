"""The step-time filter finds a, c and g while serving, and is not led astray by single slow steps."""

from __future__ import annotations

import numpy as np
import pytest

from controller.estimation.step_time import StepTimeFilter, StepTimeSettings
from models.profile.plant import StepTime

GPU = StepTime(a=0.010, c=0.0005, g=1e-7)
CPU = StepTime(a=0.003, c=0.001, g=0.0)


def serve(
    estimated: StepTimeFilter,
    true: StepTime,
    *,
    steps: int,
    seed: int = 0,
    noise: float = 0.05,
    slow: float = 0.0,
    batch: int | None = None,
) -> None:
    """Decode steps of changing batches; a share `slow` of them takes five times as long."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        b = int(rng.integers(1, 17)) if batch is None else batch
        context = float(rng.uniform(100, 8000))
        seconds = true.seconds(b, context) * float(rng.normal(1.0, noise)) * (5.0 if rng.random() < slow else 1.0)
        estimated.observe(b, context, max(seconds, 1e-6))


def error(estimated: StepTimeFilter, true: StepTime) -> float:
    """Largest relative error of a predicted step time."""
    found = estimated.step_time
    return max(
        abs(found.seconds(b, context) / true.seconds(b, context) - 1.0) for b in (1, 4, 16) for context in (100, 4000)
    )


@pytest.mark.parametrize("true", [GPU, CPU, StepTime(a=0.025, c=0.0002, g=5e-7)])
def test_it_finds_the_engine_that_it_is_served_with(true: StepTime) -> None:
    estimated = StepTimeFilter(StepTimeSettings(initial=GPU))
    serve(estimated, true, steps=2000)
    assert error(estimated, true) < 0.03
    a, c, _ = estimated.sigma
    assert estimated.step_time.a == pytest.approx(true.a, abs=max(4 * a, 1e-5))
    assert estimated.step_time.c == pytest.approx(true.c, abs=max(4 * c, 1e-5))


def test_a_few_hundred_steps_are_enough() -> None:
    estimated = StepTimeFilter(StepTimeSettings(initial=GPU))
    serve(estimated, CPU, steps=300)
    assert error(estimated, CPU) < 0.08


def test_single_slow_steps_move_it_little() -> None:
    estimated = StepTimeFilter(StepTimeSettings(initial=GPU))
    serve(estimated, GPU, steps=1000)
    before = estimated.step_time.seconds(8, 1000)
    estimated.observe(8, 1000.0, 1.0)  # a second
    assert estimated.step_time.seconds(8, 1000) == pytest.approx(before, rel=0.02)
    serve(estimated, GPU, steps=2000, slow=0.03, seed=1)
    assert error(estimated, GPU) < 0.08


def test_an_engine_that_turns_twice_as_slow_is_followed() -> None:
    estimated = StepTimeFilter(StepTimeSettings(initial=GPU))
    serve(estimated, GPU, steps=2000)
    throttled = StepTime(a=2 * GPU.a, c=2 * GPU.c, g=2 * GPU.g)
    serve(estimated, throttled, steps=1000, seed=1)
    assert error(estimated, throttled) < 0.1


def test_hours_of_one_batch_size_leave_the_filter_sound() -> None:
    """Only the sum shows; what can't be told apart is no more uncertain than at the start."""
    estimated = StepTimeFilter(StepTimeSettings(initial=GPU))
    start = np.array(estimated.sigma)
    serve(estimated, CPU, steps=5000, batch=1)
    assert estimated.step_time.seconds(1, 1000) == pytest.approx(CPU.seconds(1, 1000), rel=0.03)
    assert np.all(np.array(estimated.sigma) <= start * (1 + 1e-9))
    serve(estimated, CPU, steps=300, seed=1)
    assert error(estimated, CPU) < 0.08


@pytest.mark.parametrize(
    ("change", "words"),
    [({"noise": 0.0}, "noise is 0.0, must be finite and above 0"), ({"drift": -1.0}, "drift is -1.0")],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StepTimeSettings(**change)
