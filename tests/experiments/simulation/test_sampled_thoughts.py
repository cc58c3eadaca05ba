"""Races in simulation: the real loop on recorded samples decides as the calibration's replay does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.trials import probe_spec
from engine.simulated.machine import VirtualClock, profiled_machine
from engine.simulated.model import CourseRules
from experiments.calibration.races.sampled import SampledReply
from experiments.calibration.races.width import contender, race
from experiments.calibration.traces import ClosedReply, ThoughtTrace
from experiments.evaluation.evaluation import Asked
from experiments.simulation.recording import Recording, assembled
from experiments.simulation.sampled_thoughts import PULSE
from experiments.simulation.simulation import AnswerLetters, simulate
from models.chat_model import load_chat_model
from models.profile.width import RaceRule
from models.reasoner import bundled_model
from tests.support.model_profile import PROFILE

COUNT, SAMPLES = 40, 5
RIVAL = CourseRules(stops=frozenset(), armed=False, banned=frozenset(), most=1000, temperature=0.7, seed=3)


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


# --- races of which a limit has closed the first thought

CUT = 16  # thought tokens, at which closings are recorded; every thought is longer


class Turning:
    """A policy that wants races until a time, and then other limits."""

    def __init__(self, race: RaceRule, then: Limits) -> None:
        self.clock = VirtualClock()
        self._race, self._then = Limits(race=race), then
        self.at_s = 0.0

    def limits(self, difficulty: str | None) -> Limits:
        return self._race if self.clock.now < self.at_s else self._then


def closed_otherwise(*, told: bool) -> Recording:
    """Thoughts that are right if nobody closes them and wrong at CUT, or the other way round; samples are right."""
    traces, samples = questions()
    chat, closings = load_chat_model(bundled_model()), {}
    for number, trace in enumerate(traces):
        right = number % 2 == 0
        traces[number] = replace(trace, right=right, answer="1" if right else "0")
        samples[number] = [replace(one, right=True, answer="1") for one in samples[number]]
        said = ("7" if right else "1") if told else None
        closings[number, CUT] = ClosedReply(number=number, budget=CUT, right=not right, tokens=12, answer=said)
    return assembled(
        chat.tokenizer, chat.thinking, chat.stop_tokens, PROFILE, dict(enumerate(traces)), closings,
        [("made", None)] * COUNT, dict(enumerate(samples)),
    )  # fmt: skip


@pytest.mark.parametrize("told", [True, False])
def test_a_race_whose_first_thought_is_cut_is_graded_by_what_follows_the_cut(told: bool) -> None:
    made, machine = closed_otherwise(told=told), profiled_machine(PROFILE)
    policy = Turning(RaceRule(width=3, vote=True), Limits(budget=CUT))
    policy.at_s = 8.0 * (machine.step_time.a + 3.0 * machine.step_time.c)
    for number in range(0, COUNT, 7):
        policy.clock = VirtualClock()
        (record,) = simulate(made, np.zeros(1), [number], machine=machine, clock=policy.clock, policy=policy)
        assert record.exit_reason == "budget"
        assert record.thought_tokens >= CUT
        assert record.rows > record.completion_tokens  # of rivals that were shed
        assert record.right == (number % 2 == 1)


@pytest.mark.parametrize("told", [True, False])
def test_marks_tell_answers_apart_and_grade_them_whoever_gives_them(told: bool) -> None:
    made = closed_otherwise(told=told)
    unmarked = made.model.unmarked
    assert unmarked is not None

    def text(tokens: Sequence[int]) -> str:
        return "".join(map(AnswerLetters(made.decoder, unmarked).stream().push, tokens))

    for number, thought in enumerate(list(made.model.thoughts.values())[:8]):
        full, rival = text(thought.follow(()).tokens[-9:]), text(thought.follow((), RIVAL).tokens[-9:])
        cut, before = (text(thought.follow((463,) * at + made.thinking.landing).tokens) for at in (CUT, CUT - 1))
        assert [thought.right_reply(one) for one in (full, rival, cut, before)] == [
            number % 2 == 0, True, number % 2 == 1, False,
        ]  # fmt: skip
        assert (full == rival) == (number % 2 == 0)
        assert (cut == rival) == (number % 2 == 1 and told)


def test_a_trial_answer_is_marked_as_the_same_answer_of_others() -> None:
    traces, samples = questions()
    chat = load_chat_model(bundled_model())
    probes = tuple(
        Asked(
            thought_tokens=at, beyond=0, answer=said, confidence=0.9, joint=0.9, right=right,
            rows=len(chat.thinking.probe_suffix) + 2, log_probs=(-0.05, -0.05),
        )
        for at, said, right in ((5, "4", False), (9, "1", True))
    )  # fmt: skip
    trace = replace(traces[0], right=False, answer="0", probes=probes, rows=traces[0].tokens + 20)
    made = assembled(
        chat.tokenizer, chat.thinking, chat.stop_tokens, PROFILE, {0: trace}, {}, [("made", None)],
        {0: [replace(one, right=True, answer="1") for one in samples[0]]},
    )  # fmt: skip
    (thought,), unmarked = made.model.thoughts.values(), made.model.unmarked
    assert unmarked is not None
    push = AnswerLetters(made.decoder, unmarked).stream().push
    spec = probe_spec(made.thinking, made.stop_tokens, made.score)
    trials = [(*spec.suffix, *thought.answer(at, spec).answer) for at in (5, 9)]
    first, second = ("".join(map(push, tokens)) for tokens in trials)
    assert (thought.right_reply(first), thought.right_reply(second)) == (False, True)
    assert second == "".join(map(push, thought.follow((), RIVAL).tokens))
    closed = thought.follow((463,) * 9 + made.thinking.landing)  # closings were not recorded: as the probe before
    assert "".join(map(push, closed.tokens)) == second
    assert thought.right_reply("".join(map(push, thought.follow((463,) * 3 + made.thinking.landing).tokens))) is False


def test_rivals_cost_nobody_a_place(known: Recording) -> None:
    """At a load where all places are taken, every request is served as if nobody raced, but for the rows shed."""
    machine, times = profiled_machine(PROFILE), np.sort(np.random.default_rng(0).random(200) * 0.05)
    asked = [number % COUNT for number in range(200)]
    records = simulate(
        known, times, asked, machine=machine, clock=VirtualClock(), policy=FixedPolicy(Limits(race=RaceRule(width=5)))
    )
    assert all(one.error is None for one in records)
