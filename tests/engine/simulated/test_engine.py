"""The simulated engine: its times are those of a simulation token by token, its steps are long, its looks in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.base import EngineError, Finished, ProbeSpec, Request, Sampling, Tokens
from engine.simulated.engine import SimulatedEngine
from engine.simulated.machine import Machine, VirtualClock, passes_within
from engine.simulated.model import Course, CourseRules, TrialAnswer
from experiments.analysis import token_simulation
from models.profile.plant import StepTime


@dataclass(frozen=True, slots=True)
class Counting:
    """A model that says 1, 2, 3, … whatever it is asked, and is looked at nowhere."""

    max_tokens: int = 100_000
    vocabulary: int = 100_000

    def follow(self, prompt: tuple[int, ...], said: Sequence[int], rules: CourseRules) -> Course:
        return Course(tokens=tuple(range(1 + len(said), 1 + len(said) + rules.most)))

    def answer(self, prompt: tuple[int, ...], said: Sequence[int], spec: ProbeSpec) -> TrialAnswer:
        return TrialAnswer(answer=(7, 7), log_probs=(-0.1, -0.1), terminator=9)


@dataclass(frozen=True, slots=True)
class Obedient(Counting):
    """A model that counts, too, but leaves out what is banned, and says a stop only once it is armed."""

    def follow(self, prompt: tuple[int, ...], said: Sequence[int], rules: CourseRules) -> Course:
        barred = rules.banned if rules.armed else rules.banned | rules.stops
        left = [token for token in range(1 + len(said), 200) if token not in barred][: rules.most]
        end = next((at + 1 for at, token in enumerate(left) if token in rules.stops), len(left))
        return Course(tokens=tuple(left[:end]), looks=tuple(range(1, end + 1)), until_armed=not rules.armed)


@dataclass(slots=True)
class Budget:
    """One budget for every class, which may be set."""

    tokens: int | None = None

    def __call__(self, difficulty: str | None) -> int | None:
        return self.tokens


@dataclass(slots=True)
class Steps:
    """Hears of decode steps."""

    heard: list[tuple[int, float, float]] = field(default_factory=list)

    def __call__(self, batch: int, context: float, seconds: float) -> None:
        self.heard.append((batch, context, seconds))


SPEC = ProbeSpec(suffix=(1, 2, 3), max_answer_tokens=4, answer_stops=frozenset({9}))


def request(prompt: int = 4, new: int = 50) -> Request:
    return Request(prompt=(1,) * prompt, max_new_tokens=new, probe_room=SPEC.room)


def machine(step_time: StepTime | None = None, **options: float) -> Machine:
    return Machine(**{"step_time": step_time or StepTime(a=1.0, c=0.0), "max_batch": 8, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step_time", "tolerance"),
    [(StepTime(a=0.02, c=0.0), 1e-9), (StepTime(a=0.01, c=0.001), 1e-9), (StepTime(a=0.01, c=1e-4, g=1e-6), 1e-3)],
)
@pytest.mark.parametrize("rate", [0.3, 0.8, 1.5])
def test_latencies_are_those_of_a_simulation_that_counts_every_token(
    step_time: StepTime, tolerance: float, rate: float
) -> None:
    """A prompt's one token costs what a decoded one does; cached tokens are counted a pass later, so nearly alike."""
    rng = np.random.default_rng(1)
    tokens = np.maximum(1, rng.lognormal(4.0, 0.8, 400).astype(np.int64))
    capacity = 4 / step_time.seconds(4, float(tokens.mean())) / tokens.mean()
    arrivals = np.cumsum(rng.exponential(1.0 / (rate * capacity), 400))
    expected = token_simulation.simulate(step_time=step_time, max_batch=4, arrivals=arrivals, tokens=tokens, prompt=1)
    clock = VirtualClock()
    engine = SimulatedEngine(Counting(), machine(step_time, max_batch=4, prefill_s=step_time.c, cells=1_000_000), clock)
    latency, names, coming = np.zeros(400), {}, 0
    while coming < 400 or names:
        if not names:
            clock.skip(arrivals[coming])
        while coming < 400 and arrivals[coming] <= clock.now:
            names[engine.submit(request(1, int(tokens[coming])))] = coming
            coming += 1
        clock.alarm = arrivals[coming] if coming < 400 else math.inf
        for event in engine.step():
            if isinstance(event, Finished):
                number = names.pop(event.sequence)
                latency[number] = clock.now - arrivals[number]
    np.testing.assert_allclose(latency[40:].mean(), expected.latency.mean(), rtol=tolerance)
    np.testing.assert_allclose(latency[40:], expected.latency, rtol=max(tolerance, 1e-7), atol=20 * tolerance)


def test_a_step_goes_on_until_something_happens() -> None:
    clock = VirtualClock()
    engine = SimulatedEngine(Counting(), machine(), clock)
    engine.submit(request(new=30))
    engine.submit(request(new=50))
    engine.step()  # both prompts
    assert [event for event in engine.step() if isinstance(event, Finished)]
    assert clock.now == 30.0
    (told, finished) = engine.step()
    assert isinstance(told, Tokens)
    assert told.tokens == tuple(range(2, 51))
    assert isinstance(finished, Finished)
    assert clock.now == 50.0


def test_a_step_ends_with_the_pass_in_which_something_comes_from_outside() -> None:
    clock = VirtualClock(alarm=10.5)
    engine = SimulatedEngine(Counting(), machine(), clock)
    engine.submit(request())
    engine.step()
    assert engine.step() == []
    assert clock.now == 11.0


def test_a_step_is_no_longer_than_the_pulse() -> None:
    clock = VirtualClock()
    engine = SimulatedEngine(Counting(), machine(), clock, pulse_s=3.0)
    engine.submit(request())
    engine.step()
    assert engine.step() == []
    assert clock.now == 4.0


def test_a_budget_is_looked_at_in_the_step_that_spends_it() -> None:
    clock, budget = VirtualClock(), Budget(20)
    engine = SimulatedEngine(Counting(), machine(), clock, budget=budget)
    sequence = engine.submit(request())
    engine.step()
    (told,) = engine.step()
    assert isinstance(told, Tokens)
    assert told.tokens[-1] == 20
    engine.force(sequence, (5, 6))
    forced, first = engine.step()
    assert forced == Tokens(sequence=sequence, tokens=(5, 6), forced=True)
    assert first == Tokens(sequence=sequence, tokens=(23,))  # when the forced ones came is known to the pass
    budget.tokens = 30
    (rest, _) = engine.step()
    assert isinstance(rest, Tokens)
    assert rest.tokens == tuple(range(24, 51))  # it closes no thought any more


def test_a_sequence_is_looked_at_at_each_mark_until_its_thought_is_closed() -> None:
    engine = SimulatedEngine(Counting(), machine(), VirtualClock(), budget=Budget(20), marks=(12, 20, 31, 40))
    sequence = engine.submit(request())
    engine.step()
    ends = [told.tokens[-1] for _ in range(3) for told in engine.step() if isinstance(told, Tokens)]
    assert ends == [12, 20, 31]
    engine.force(sequence, (5, 6))
    engine.step()
    (rest, _) = engine.step()
    assert isinstance(rest, Tokens)
    assert rest.tokens[-1] == 50


def test_a_budget_lowered_below_a_running_sequence_is_looked_at_after_the_next_pass() -> None:
    clock, budget = VirtualClock(), Budget(None)
    engine = SimulatedEngine(Counting(), machine(), clock, budget=budget, pulse_s=12.0)
    sequence = engine.submit(request())
    engine.step()
    assert engine.step() == []
    budget.tokens = 5
    assert engine.step() == [Tokens(sequence=sequence, tokens=tuple(range(2, 15)))]


def test_a_sequence_that_has_untold_tokens_is_not_steered() -> None:
    engine = SimulatedEngine(Counting(), machine(), VirtualClock(), pulse_s=5.0)
    sequence = engine.submit(request())
    engine.step()
    engine.step()
    with pytest.raises(EngineError, match="has tokens that were not told of"):
        engine.force(sequence, (1,))
    with pytest.raises(EngineError, match="has tokens that were not told of"):
        engine.fork(sequence, SPEC)


def test_passes_take_what_prompts_probes_and_forced_tokens_add() -> None:
    clock = VirtualClock()
    parts = machine(StepTime(a=1.0, c=0.1, g=0.01), prefill_s=0.2, probe_row_s=0.3, prefill_chunk=3)
    engine = SimulatedEngine(Counting(), parts, clock)
    sequence = engine.submit(request(prompt=4))
    engine.step()
    assert clock.now == pytest.approx(1.0 + 3 * 0.2)  # a first chunk
    engine.step()
    assert clock.now == pytest.approx(2.6 + 0.2)  # the other
    engine.fork(sequence, SPEC)
    before = clock.now
    engine.step()  # three passes draw two tokens and the terminator
    rows, cached = 3 + 1 + 1, 5 + 6 + 7
    assert clock.now - before == pytest.approx(3 * 1.1 + 0.01 * cached + 0.3 * rows)
    before = clock.now
    engine.force(sequence, (1, 2))
    clock.alarm = before
    engine.step()
    assert clock.now - before == pytest.approx(1.1 + 0.01 * (4 + 4 + 2) + 2 * 0.2)


def test_a_probe_dropped_before_its_first_pass_costs_nothing() -> None:
    clock = VirtualClock(alarm=0.0)
    engine = SimulatedEngine(Counting(), machine(StepTime(a=1.0, c=0.0), probe_row_s=0.5), clock)
    sequence = engine.submit(request())
    engine.step()
    assert engine.drop(engine.fork(sequence, SPEC)) == 0
    engine.step()
    assert clock.now == 2.0


def test_pure_decode_passes_are_told_one_by_one() -> None:
    clock, steps = VirtualClock(), Steps()
    engine = SimulatedEngine(Counting(), machine(StepTime(a=1.0, c=0.5, g=0.25)), clock, stepped=steps)
    for new in (4, 6):
        engine.submit(request(prompt=3, new=new))
    while engine.load().running + engine.load().waiting:
        engine.step()
    assert steps.heard == [
        *[(2, 5.0, 1.0 + 0.5 * 2 + 0.25 * 10.0)] * 3,  # the mean of three
        *[(1, 7.5, 1.0 + 0.5 + 0.25 * 7.5)] * 2,
    ]


def test_a_ban_that_changes_what_follows_leaves_it_open_to_stops_that_are_armed_later() -> None:
    engine = SimulatedEngine(Obedient(), machine(), VirtualClock())
    sequence = engine.submit(replace(request(), stop_tokens=frozenset({6}), stops_armed=False))
    engine.step()
    engine.ban(sequence, frozenset({3}))
    engine.step()
    engine.arm_stops(sequence)
    told = [event for _ in range(8) for event in engine.step()]
    assert isinstance(told[-1], Finished)
    assert [event.tokens for event in told if isinstance(event, Tokens)] == [(4,), (5,), (6,)]


def test_a_ban_lifted_in_prefill_has_nothing_told_before_the_prompt_is_there() -> None:
    engine = SimulatedEngine(Obedient(), machine(prefill_chunk=4), VirtualClock())
    other = engine.submit(request(new=20))
    for _ in range(6):
        engine.step()
    sequence = engine.submit(request(prompt=12, new=3))
    engine.step()
    for banned in (frozenset({1}), frozenset[int]()):
        engine.ban(sequence, banned)
    told = [[event for event in engine.step() if event.sequence != other] for _ in range(5)]
    assert [[event.tokens for event in events if isinstance(event, Tokens)] for events in told[:4]] == [
        [], [(1,)], [(2,)], [(3,)],
    ]  # fmt: skip


def test_a_prompt_that_another_sequence_has_takes_no_time_again() -> None:
    clock = VirtualClock()
    engine = SimulatedEngine(Counting(), machine(prefill_s=1.0), clock)
    first = engine.submit(request(prompt=100, new=5))
    for _ in range(3):
        engine.submit(request(prompt=100, new=5), like=first)
    engine.step()
    assert clock.now == 1.0 + 100.0 + 3 * 1.0  # the pass, the prompt, and the last token of it for each of the others


def test_draws_are_refused() -> None:
    engine = SimulatedEngine(Counting(), machine(), VirtualClock())
    with pytest.raises(EngineError, match=r"temperature is 0\.5, must be 0"):
        engine.submit(Request(prompt=(1,), max_new_tokens=3, sampling=Sampling(temperature=0.5)))


@settings(deadline=None)
@given(seconds=st.floats(-1.0, 1e4), first=st.floats(1e-3, 1.0), growth=st.one_of(st.just(0.0), st.floats(1e-6, 0.1)))
def test_passes_within_a_time_are_the_fewest_that_fill_it(seconds: float, first: float, growth: float) -> None:
    passes = passes_within(seconds, first, growth)

    def took(k: int) -> float:
        return k * first + growth * k * (k - 1) / 2.0

    assert passes >= 1
    assert took(passes) >= seconds * (1.0 - 1e-9) - 1e-9
    assert passes == 1 or took(passes - 1) <= seconds * (1.0 + 1e-9) + 1e-9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_batch": 0}, "max_batch is 0, must be at least 1"),
        ({"cells": 0}, "cells is 0"),
        ({"prefill_s": -1.0}, r"prefill_s is -1\.0 s, must be finite and at least 0"),
        ({"probe_row_s": math.nan}, "probe_row_s is nan s"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        machine(**options)
