"""A policy, its keeper, an observer or an engine that fails on one request: it gets an error, and all others go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controller.policy import Limits
from controller.serving.admission import AdmissionLimits
from controller.serving.request import ReasoningRequest
from engine.base import FinishReason, SequenceId
from models.profile.width import RaceRule
from tests.support.racing_requests import FIRST, IDLE, WAYS, Load, ask
from tests.support.serving_bench import BRIEF, ENDLESS, Bench

Chain = Callable[..., Bench]
ODD = "odd"  # the class that it fails on


class Failing:
    """A policy that knows nothing of one class, from when it is told so."""

    def __init__(self, rule: RaceRule | None = None, *, fails: bool = True) -> None:
        self.rule = rule
        self.fails = fails

    def limits(self, difficulty: str | None) -> Limits:
        if self.fails and difficulty == ODD:
            raise KeyError(difficulty)
        return Limits(race=self.rule)


@pytest.mark.parametrize("rule", [None, FIRST], ids=["alone", "races"])
def test_a_class_that_the_policy_fails_on_is_an_error_as_it_is_submitted(chain: Chain, rule: RaceRule | None) -> None:
    bench = chain(WAYS, policy=Failing(rule), admission=IDLE)
    _, heard = ask(bench, difficulty=ODD)
    assert heard.outcome.error == "KeyError: 'odd'"
    assert not bench.loop.busy
    assert bench.loop.queue.waiting == 0
    _, other = ask(bench)
    bench.run()
    assert other.outcome.finish_reason is FinishReason.STOP


def test_a_class_that_the_policy_fails_on_is_an_error_when_its_turn_comes(chain: Chain) -> None:
    bench = chain(BRIEF, policy=Failing(), admission=AdmissionLimits(slots=2))
    running = [ask(bench)[1], ask(bench, max_tokens=50)[1]]
    _, odd = ask(bench, difficulty=ODD)
    _, behind = ask(bench)
    assert not odd.outcomes
    bench.run()
    assert odd.outcome.error == "KeyError: 'odd'"
    for one in (*running, behind):
        assert one.outcome.finish_reason is FinishReason.STOP


def test_a_race_whose_class_the_policy_comes_to_fail_on_ends_alone(chain: Chain) -> None:
    policy = Failing(FIRST, fails=False)
    bench = chain(ENDLESS, policy=policy, admission=IDLE)
    _, other = ask(bench, max_tokens=40, early_exit=False)
    _, odd = ask(bench, max_tokens=40, difficulty=ODD)
    bench.tick(3)
    assert bench.engine.load().running == 1 + FIRST.width
    policy.fails = True
    bench.run()
    assert odd.outcome.finish_reason is FinishReason.ERROR
    assert other.outcome.finish_reason is not FinishReason.ERROR


def test_a_policy_that_fails_once_a_reply_is_made_takes_nothing_from_it(chain: Chain) -> None:
    policy = Failing(fails=False)
    bench = chain(BRIEF, policy=policy)
    _, heard = ask(bench, difficulty=ODD)
    while not heard.content:
        bench.tick()
    policy.fails = True
    bench.run()
    assert heard.outcome.finish_reason is FinishReason.STOP


def test_who_cannot_be_told_that_a_request_begins_does_not_hold_it(chain: Chain) -> None:
    def gone() -> None:
        raise OSError("nobody listens")

    bench = chain(BRIEF, admission=AdmissionLimits(slots=1))
    _, running = ask(bench)
    prompt = bench.thinking.prompt(tuple(bench.tokenizer.encode("?")), thinking=True)
    request = ReasoningRequest(prompt=prompt, max_tokens=60, choices=2)
    replies: list[Any] = []
    bench.loop.submit(request, replies.append, on_begin=gone)
    bench.run()
    assert [reply.error for reply in replies] == ["OSError: nobody listens"] * 2
    assert replies[-1].going_on == 0
    assert running.outcome.finish_reason is FinishReason.STOP


class Keeping(Failing):
    """A policy whose keeper cannot settle what it grants."""

    @property
    def keeper(self) -> Keeping:
        return self

    def admit(self, difficulty: str | None, key: str, *, pays: bool) -> object:
        return self

    def within(self, grant: object, limits: Limits, age: int) -> Limits:
        return limits

    def served(self, grant: object) -> None:
        raise ZeroDivisionError("nothing was granted")

    void = served


class Deaf(Load):
    """An observer that fails on what has ended."""

    def finished(self, difficulty: str | None, tokens: int) -> None:
        raise ZeroDivisionError("it took no time")


@pytest.mark.parametrize("options", [{"policy": Keeping()}, {"observer": Deaf()}], ids=["keeper", "observer"])
def test_an_end_that_cannot_be_counted_is_told_all_the_same(chain: Chain, options: dict[str, Any]) -> None:
    bench = chain(BRIEF, **options)
    heard = [ask(bench)[1] for _ in range(2)]
    left, _ = ask(bench)
    bench.tick()
    bench.loop.cancel(left)
    bench.run()
    for one in heard:
        assert one.outcome.finish_reason is FinishReason.STOP


def test_an_engine_that_cannot_end_a_sequence_keeps_no_client_waiting(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = chain(ENDLESS)
    _, heard = ask(bench)
    bench.tick(2)

    def stuck(sequence: SequenceId) -> None:
        raise RuntimeError("it goes on")

    monkeypatch.setattr(bench.engine, "cancel", stuck)
    assert bench.loop.queue.running == 1
    with pytest.raises(RuntimeError, match="it goes on"):
        bench.loop.fail_running("a step has failed")
    assert heard.outcome.error == "a step has failed"
    assert not bench.loop.busy
    assert bench.loop.queue.running == 0  # shown to all, though no step follows
