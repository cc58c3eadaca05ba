"""Races in simulation: the real loop on recorded samples decides as the calibration's replay does."""

from __future__ import annotations

import numpy as np
import pytest

from controller.policy import FixedPolicy, Limits
from engine.simulated.machine import VirtualClock, profiled_machine
from experiments.calibration.races.sampled import SampledReply
from experiments.calibration.races.width import contender, race
from experiments.calibration.traces import ThoughtTrace
from experiments.simulation.recording import Recording, assembled
from experiments.simulation.sampled_thoughts import PULSE
from experiments.simulation.simulation import simulate
from models.chat_model import load_chat_model
from models.profile.width import RaceRule
from models.reasoner import bundled_model
from tests.support.model_profile import PROFILE

COUNT, SAMPLES = 40, 5


def questions() -> tuple[list[ThoughtTrace], list[list[SampledReply]]]:
    """Made thoughts of 20 to 200 tokens, and samples; an answer of a question is right or wrong, whoever gives it."""
    rng = np.random.default_rng(3)
    traces, samples = [], []
    for number in range(COUNT):
        said = rng.integers(3, size=SAMPLES + 1).tolist()
        lengths = rng.integers(20, 200, size=SAMPLES + 1).tolist()
        traces.append(
            ThoughtTrace(
                number=number,
                prompt=(1, 89, 100 + number),
                thought=(463,) * lengths[0],
                right=said[0] == 1,
                tokens=lengths[0] + 10,
                rows=lengths[0] + 10,
                probes=(),
                natural=True,
                answer=str(said[0]),
            )
        )
        samples.append(
            [
                SampledReply(
                    question=str(number),
                    sample=k,
                    tokens=lengths[k + 1] + 10,
                    thought_tokens=lengths[k + 1],
                    answer=str(said[k + 1]),
                    right=said[k + 1] == 1,
                    ended_by="natural",
                )
                for k in range(SAMPLES)
            ]
        )
    return traces, samples


@pytest.fixture(scope="module")
def known() -> Recording:
    chat, (traces, samples) = load_chat_model(bundled_model()), questions()
    labels = [("made", None)] * COUNT
    return assembled(
        chat.tokenizer, chat.thinking, chat.stop_tokens, PROFILE, dict(enumerate(traces)), {}, labels,
        dict(enumerate(samples)),
    )  # fmt: skip


@pytest.mark.parametrize("rule", [RaceRule(width=3), RaceRule(width=3, vote=True), RaceRule(width=5, vote=True)])
def test_a_simulated_race_is_the_replayed_one(known: Recording, rule: RaceRule) -> None:
    traces, samples = questions()
    apart = np.arange(COUNT) * 1e4
    found = simulate(
        known, apart, list(range(COUNT)), machine=profiled_machine(PROFILE), clock=VirtualClock(),
        policy=FixedPolicy(Limits(race=rule)),
    )  # fmt: skip
    for number, record in enumerate(found):
        drawn = [samples[number][(number + place) % SAMPLES] for place in range(1, rule.width)]
        full = traces[number]
        wanted = race(
            [
                contender(full.tokens, full.answer or "", full.right),
                *(contender(one.tokens, one.answer, one.right) for one in drawn),
            ],
            vote=rule.vote,
        )
        assert record.right == wanted.winner.right
        assert record.completion_tokens == wanted.winner.tokens
        assert wanted.rows - (PULSE + 1) * rule.width < record.rows <= wanted.rows


def test_a_race_takes_longer_than_a_thought_alone_only_by_its_rows(known: Recording) -> None:
    machine, apart = profiled_machine(PROFILE), np.arange(COUNT) * 1e4
    alone, raced = (
        simulate(
            known,
            apart,
            list(range(COUNT)),
            machine=machine,
            clock=VirtualClock(),
            policy=FixedPolicy(Limits(race=rule)),
        )
        for rule in (None, RaceRule(width=3))
    )
    step = machine.step_time
    slower = (step.a + 3 * step.c) / (step.a + step.c) + 0.2  # and what is cached
    assert all(b.latency_s <= a.latency_s * slower for a, b in zip(alone, raced, strict=True))
    assert np.mean([one.rows for one in raced]) > 1.5 * np.mean([one.rows for one in alone])


def test_rivals_cost_nobody_a_place(known: Recording) -> None:
    """At a load where all places are taken, every request is served as if nobody raced, but for the rows shed."""
    machine, times = profiled_machine(PROFILE), np.sort(np.random.default_rng(0).random(200) * 0.05)
    asked = [number % COUNT for number in range(200)]
    records = simulate(
        known, times, asked, machine=machine, clock=VirtualClock(), policy=FixedPolicy(Limits(race=RaceRule(width=5)))
    )
    assert all(one.error is None for one in records)
