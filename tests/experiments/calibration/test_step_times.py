"""The plant is found again from steps that follow it, and real engines are timed without leaving anything behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, combinations, count, cycle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base import CapacityError, Engine, ProbeSpec
from engine.torch.engine import TorchEngine, TorchEngineConfig
from engine.torch.load import load_model
from experiments.calibration.step_times import TimedBatch, batches, decode_steps, fit, probe_seconds, steadiness
from models.profile.plant import StepTime
from models.reasoner import bundled_model

PROMPT = tuple(range(20, 60))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return TorchEngine(load_model(bundled_model()), TorchEngineConfig(cells=4096, max_batch=8))


def steady() -> Callable[[], float]:
    """A clock on which every step takes a second."""
    ticks = count()
    return lambda: float(next(ticks))


def timed(step: StepTime, noise: float = 0.0, seed: int = 0) -> list[TimedBatch]:
    rng = np.random.default_rng(seed)
    return [
        TimedBatch(batch=b, context=k, seconds=step.seconds(b, k) * float(np.exp(noise * rng.standard_normal())))
        for b in (1, 2, 4, 8, 16)
        for k in (50.0, 200.0, 800.0)
    ]


@given(st.floats(1e-4, 1e-1), st.floats(0.0, 1e-2), st.floats(0.0, 1e-5))
def test_exact_steps_give_the_plant_exactly(a: float, c: float, g: float) -> None:
    found = fit(timed(StepTime(a=a, c=c, g=g)))
    assert found.error == pytest.approx(0.0, abs=1e-6)
    for batch, context in ((1, 100.0), (16, 400.0), (32, 1000.0)):
        assert found.step_time.seconds(batch, context) == pytest.approx(a + (c + g * context) * batch, rel=1e-4)


def test_noisy_steps_give_nearly_the_plant_and_their_noise() -> None:
    true = StepTime(a=1e-3, c=2e-4, g=3e-7)
    found = fit(timed(true, noise=0.05))
    assert found.error == pytest.approx(0.05, rel=0.4)
    assert found.step_time.seconds(8, 300.0) == pytest.approx(true.seconds(8, 300.0), rel=0.05)


def least_squares(points: list[TimedBatch]) -> tuple[float, float, float]:
    """The best a, c, g ≥ 0 of all solutions in which some of them are 0."""
    x = np.array([[1.0, one.batch, one.batch * one.context] for one in points])
    x /= np.array([[one.seconds] for one in points])
    best, least = np.zeros(3), float(len(points))
    for size in (1, 2, 3):
        for chosen in combinations(range(3), size):
            scale = x[:, chosen].max(axis=0)
            found = np.zeros(3)
            found[list(chosen)] = np.linalg.lstsq(x[:, chosen] / scale, np.ones(len(points)), rcond=None)[0] / scale
            error = float(np.square(x @ found - 1.0).sum())
            if found.min() >= 0.0 and error < least:
                best, least = found, error
    return best[0], best[1], best[2]


@pytest.mark.parametrize("seed", range(30))
def test_the_fit_is_the_best_of_all_subsets_of_unknowns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = StepTime(a=10 ** rng.uniform(-5, -1), c=10 ** rng.uniform(-7, -3), g=10 ** rng.uniform(-10, -6))
    points = timed(step, noise=float(rng.choice([0.01, 0.1, 0.5])), seed=seed)
    found = fit(points).step_time
    assert (found.a, found.c, found.g) == pytest.approx(least_squares(points), rel=1e-9, abs=1e-15)


def test_nothing_is_ever_negative() -> None:
    shrinking = [TimedBatch(batch=b, context=k, seconds=1e-3 / b) for b in (1, 2, 4) for k in (10.0, 100.0)]
    step = fit(shrinking).step_time
    assert min(step.a, step.c, step.g) >= 0.0


def test_too_few_points_are_refused() -> None:
    with pytest.raises(CapacityError, match="2 batches fit the engine to tell a, c and g from, must be at least 3"):
        fit(timed(StepTime(a=1e-3, c=1e-4))[:2])


def test_batches_go_up_to_the_largest() -> None:
    assert (batches(1), batches(8), batches(12)) == ([1], [1, 2, 4, 8], [1, 2, 4, 8, 12])


def test_decode_steps_are_timed_one_by_one(engine: Engine) -> None:
    found = decode_steps(engine, [PROMPT] * 4, steady(), steps=10)
    assert (found.batch, found.seconds) == (4, 1.0)
    assert len(PROMPT) < found.context < len(PROMPT) + 30
    assert engine.load().running == engine.load().cells_reserved == 0


def test_a_machine_that_does_other_work_is_told_by_its_steps() -> None:
    quiet = [TimedBatch(batch=b, context=9.0, seconds=b * 1e-3, spread=0.02) for b in (1, 2, 4)]
    again = quiet[0]
    assert not steadiness(quiet, again, waited=0.01).busy
    assert not steadiness([*quiet, replace(quiet[0], spread=9.0)], again, waited=None).busy  # one hiccup
    assert steadiness([replace(one, spread=0.5) for one in quiet], again, waited=None).busy
    assert steadiness(quiet, replace(again, seconds=7e-3), waited=None).busy  # 3 ms, and 21 ms an hour later
    assert steadiness(quiet, again, waited=0.3).busy


def test_the_spread_of_steps_is_that_of_their_middle_half(engine: Engine) -> None:
    assert decode_steps(engine, [PROMPT] * 2, steady(), steps=12).spread == 0.0
    times = cycle((1.0, 1.0, 1.0, 2.0, 2.0, 2.0))  # as if every other slice of time were another process's
    now = accumulate(seconds for step in times for seconds in (0.0, step))
    assert decode_steps(engine, [PROMPT] * 2, lambda: next(now), steps=12).spread == pytest.approx(1.0 / 1.5)


def test_a_probe_costs_rows_and_takes_time(engine: Engine) -> None:
    spec = ProbeSpec(suffix=(20, 21, 22), max_answer_tokens=4, answer_stops=frozenset())
    added, rows = probe_seconds(engine, [PROMPT] * 4, spec, steady(), rounds=2)
    assert (added, rows) == (0.0, 3 + 4 - 1)  # on this clock a step with probes takes a second too
    timed = (probe_seconds(engine, [PROMPT] * 4, spec, time.perf_counter)[0] for _ in range(9))
    assert any(added > 0.0 for added in timed)  # other work may hide it for once
    assert engine.load().running == engine.load().probing == engine.load().cells_reserved == 0


def test_a_batch_that_would_shrink_while_it_is_timed_is_refused() -> None:
    slow = TorchEngine(load_model(bundled_model()), TorchEngineConfig(cells=400, max_batch=4, prefill_chunk=2))
    with pytest.raises(CapacityError, match=r"a sequence ended after 50 tokens, while others waited"):
        decode_steps(slow, [PROMPT + PROMPT[:10]] * 4, steady())
    assert slow.load().cells_reserved == 0


def test_what_does_not_fit_the_engine_is_told(engine: Engine) -> None:
    assert decode_steps(engine, [PROMPT * 10] * 4, steady()).batch == 4
    with pytest.raises(CapacityError, match=r"8 sequences of 500 tokens do not fit with 29 more each.* may have 512"):
        decode_steps(engine, [PROMPT * 12 + PROMPT[:20]] * 8, steady())
    assert engine.load().cells_reserved == 0
