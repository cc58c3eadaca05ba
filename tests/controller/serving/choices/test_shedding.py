"""Races that lose thoughts: rivals are shed for whoever waits, and thoughts fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.admission import AdmissionLimits
from controller.serving.request import RequestId
from engine.base import FinishReason, Request, Sampling, SequenceId
from tests.support.racing_requests import DRAWN, FIRST, IDLE, VOTE, WAYS, Chain, Moving, alone, ask
from tests.support.serving_bench import ENDLESS, Heard


def test_rivals_are_shed_for_whoever_needs_the_place(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(race=FIRST)), admission=AdmissionLimits(slots=4), max_batch=4)
    _, first = ask(bench, max_tokens=60)
    bench.tick(3)
    assert bench.engine.load().running == 4
    others = [ask(bench, max_tokens=60)[1] for _ in range(3)]
    assert bench.loop.queue.waiting == 0  # nobody waits for a rival
    bench.tick()
    assert bench.engine.load().running == 4
    assert bench.loop.queue.waiting == 0
    bench.run()
    assert [one.outcome.finish_reason for one in (first, *others)] == [FinishReason.STOP] * 4
    assert first.outcome.raced_rows > 0  # of those that were shed
    assert [one.outcome.width for one in others] == [1, 1, 1]


def test_a_full_queue_turns_nobody_away_for_a_rival(chain: Chain) -> None:
    limits = AdmissionLimits(slots=4, max_waiting=0)
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(race=FIRST)), admission=limits, max_batch=4)
    first = ask(bench)[1]
    bench.tick(3)
    second = ask(bench)[1]
    bench.run()
    assert first.outcome.error is None
    assert second.outcome.error is None


def test_rivals_leave_their_memory_to_whoever_comes(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(race=FIRST)), admission=AdmissionLimits(slots=8), cells=420)
    first = ask(bench, max_tokens=60)[1]
    bench.tick(3)
    assert bench.engine.load().running == 4
    second = ask(bench, max_tokens=150)[1]
    bench.tick(2)
    assert bench.engine.load().waiting == 0
    assert bench.engine.load().running < 5
    bench.run()
    assert first.outcome.error is None
    assert second.outcome.error is None


def test_a_policy_that_wants_no_race_any_more_sheds_the_rivals(chain: Chain) -> None:
    policy = Moving(FIRST)
    bench = chain(ENDLESS, policy=policy, admission=IDLE)
    _, heard = ask(bench)
    bench.tick(4)
    policy.rule = None
    bench.tick()
    assert bench.engine.load().running == 1
    bench.run()
    assert heard.content
    assert heard.outcome.raced_rows > 0


def test_a_vote_whose_last_rivals_are_shed_is_told(chain: Chain) -> None:
    policy = Moving(VOTE)
    bench = chain(WAYS, policy=policy, admission=IDLE)
    _, heard = ask(bench)
    while bench.engine.load().running in (0, VOTE.width):
        bench.tick()
    assert not heard.outcomes  # one has voted, and four may still outvote it
    policy.rule = None
    bench.run()
    assert heard.outcome.error is None
    assert heard.content


class Leaving:
    """A policy that a test may have leave a race for other limits."""

    def __init__(self) -> None:
        self.now = Limits(race=VOTE)

    def limits(self, difficulty: str | None) -> Limits:
        return self.now


def slow(chain: Chain) -> Iterator[Sampling]:
    """Yields how requests are drawn whose own thought goes on after two others of a vote have ended otherwise."""
    for seed in range(100):
        first = replace(DRAWN, seed=31 * seed)
        each = alone(chain(WAYS), [replace(first, seed=first.seed + place) for place in range(VOTE.width)])
        one, other, *_ = sorted(each[1:], key=lambda heard: heard.outcome.completion_tokens)
        ends_late = each[0].outcome.completion_tokens > other.outcome.completion_tokens + 5
        if ends_late and one.content != other.content:
            yield first


@pytest.mark.parametrize("number", range(3))
def test_a_first_thought_that_is_counted_beside_others_is_full_whatever_the_policy_wants_by_then(
    chain: Chain, number: int
) -> None:
    first = next(islice(slow(chain), number, None))
    found = []
    for then in (Limits(), Limits(budget=1)):
        policy = Leaving()
        bench = chain(WAYS, policy=policy, admission=IDLE)
        _, heard = ask(bench, sampling=first)
        bench.tick()
        while bench.engine.load().running > VOTE.width - 2:
            bench.tick()
        assert not heard.outcomes
        policy.now = then
        bench.tick()
        assert bench.engine.load().running == 1
        bench.run()
        found.append((heard.content, heard.outcome.thought, heard.outcome.completion_tokens, heard.outcome.raced_rows))
    assert found[0] == found[1]


PAIR = replace(VOTE, width=3)
THREE = AdmissionLimits(slots=3)


def behind(chain: Chain) -> tuple[Sampling, Heard]:
    """Returns how a request is drawn whose own thought ends last of a vote of 3, and the reply that it gets alone."""
    for seed in range(100):
        first = replace(DRAWN, seed=31 * seed)
        each = alone(chain(WAYS), [first, *(replace(first, seed=first.seed + place) for place in (1, 2))])
        lengths = [one.outcome.completion_tokens for one in each]
        if lengths[0] > lengths[1] + 2 > lengths[2] + 5 and each[1].content != each[0].content:
            return first, each[0]
    raise AssertionError("no seed draws it")


@pytest.mark.parametrize("need", ["a place", "the policy's end of it", "a failure"])
def test_a_vote_that_shrinks_to_two_serves_the_request_s_own_thought_and_sheds_the_other(
    chain: Chain, need: str
) -> None:
    first, wanted = behind(chain)
    policy = Moving(PAIR)
    bench = chain(WAYS, policy=policy, admission=THREE, max_batch=3)
    _, heard = ask(bench, sampling=first)
    bench.tick(3)
    assert bench.engine.load().running == 3
    if need == "a place":
        ask(bench)
    elif need == "a failure":
        bench.loop._broken(RuntimeError("it burst"), bench.loop._in_engine.get(list(bench.engine.ledger.accounts)[-1]))
    else:
        policy.rule = None
    bench.tick()
    assert bench.engine.load().running == (2 if need == "a place" else 1)
    bench.run()
    assert (heard.reasoning, heard.content) == (wanted.reasoning, wanted.content)
    made = heard.outcome
    assert (made.width, made.error, made.reproducible) == (3, None, False)
    assert made.completion_tokens == wanted.outcome.completion_tokens
    assert made.prompt_tokens == wanted.outcome.prompt_tokens
    assert made.raced_rows >= 2  # of both that were shed


def test_a_rival_that_has_ended_does_not_stand_for_the_first_thought_of_two(chain: Chain) -> None:
    first, wanted = behind(chain)
    for fails in (False, True):
        bench = chain(WAYS, policy=FixedPolicy(Limits(race=PAIR)), admission=THREE, max_batch=3)
        _, heard = ask(bench, sampling=first)
        bench.tick()
        while bench.engine.load().running == 3:
            bench.tick()
        lead, other, _ = bench.engine.ledger.accounts
        bench.loop._broken(RuntimeError("it burst"), bench.loop._in_engine.get(other))
        bench.tick()
        assert bench.engine.load().running == 1
        assert not heard.outcomes  # the first thought goes on
        if fails:
            bench.loop._broken(RuntimeError("it burst, too"), bench.loop._in_engine.get(lead))
        bench.run()
        assert heard.outcome.error is None
        if not fails:
            assert (heard.reasoning, heard.content) == (wanted.reasoning, wanted.content)
        else:  # then the reply that there is
            assert heard.content
            assert heard.outcome.completion_tokens < wanted.outcome.completion_tokens


def test_a_rival_that_cannot_begin_leaves_the_vote_to_the_first_thought(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, wanted = behind(chain)
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=PAIR)), admission=THREE, max_batch=3)
    submit, begun = bench.engine.submit, []

    def once(asked: Request, *, like: SequenceId | None = None) -> SequenceId:
        begun.append(asked)
        if len(begun) == 2:
            raise RuntimeError("no memory")
        return submit(asked, like=like)

    monkeypatch.setattr(bench.engine, "submit", once)
    _, heard = ask(bench, sampling=first)
    bench.run()
    assert len(begun) == 2  # the third thought is not wanted any more
    assert (heard.reasoning, heard.content) == (wanted.reasoning, wanted.content)


def test_a_thought_that_fails_leaves_the_race_to_the_others(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(race=FIRST)), admission=IDLE)
    _, heard = ask(bench)
    bench.tick(2)
    lead, *_ = bench.engine.ledger.accounts
    bench.loop._broken(RuntimeError("it burst"), bench.loop._in_engine.get(lead))
    bench.run()
    assert heard.outcome.error is None
    assert heard.content
    assert heard.outcome.prompt_tokens > 0


def test_the_last_thought_of_a_race_whose_first_has_failed_is_not_shed(chain: Chain) -> None:
    policy = Moving(FIRST)
    bench = chain(ENDLESS, policy=policy, admission=AdmissionLimits(slots=4), max_batch=4)
    _, heard = ask(bench, max_tokens=60)
    bench.tick(3)
    lead, *_ = bench.engine.ledger.accounts
    bench.loop._broken(RuntimeError("it burst"), bench.loop._in_engine.get(lead))
    policy.rule = None
    others = [ask(bench, max_tokens=60)[1] for _ in range(5)]  # more than there are places for
    bench.run()
    assert [one.outcome.error for one in (heard, *others)] == [None] * 6
    assert heard.content


def test_a_race_of_which_all_fail_fails(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(race=FIRST)), admission=IDLE)
    _, heard = ask(bench)
    bench.tick(2)
    bench.loop.fail_running("the engine has failed")
    assert heard.outcome.error == "the engine has failed"
    assert not bench.loop.busy


@pytest.mark.parametrize("seed", range(4))
def test_races_under_changing_load_lose_nothing(chain: Chain, seed: int) -> None:
    import numpy as np

    rng, policy = np.random.default_rng(seed), Moving(FIRST)
    bench = chain(WAYS, policy=policy, admission=AdmissionLimits(slots=6), max_batch=6, cells=1200)
    asked: dict[RequestId, Heard] = {}
    left: set[RequestId] = set()
    for _ in range(150):
        if rng.random() < 0.2:
            number, heard = ask(bench, sampling=replace(DRAWN, seed=int(rng.integers(1000))))
            asked[number] = heard
        if rng.random() < 0.05:
            policy.rule = [None, FIRST, VOTE, PAIR][int(rng.integers(4))]
        if asked and rng.random() < 0.03:
            number = list(asked)[int(rng.integers(len(asked)))]
            if not asked[number].outcomes and number not in left:
                bench.loop.cancel(number)
                left.add(number)
        bench.tick()
    bench.run()
    assert any(one.outcomes and one.outcome.width > 1 for one in asked.values())
    for number, heard in asked.items():
        assert len(heard.outcomes) == (number not in left)
        assert number in left or (heard.content and heard.outcome.error is None)
