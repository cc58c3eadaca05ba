"""A vote that has shrunk to two thoughts is the request's own thought's, whatever it has lost the others for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.admission import AdmissionLimits
from engine.base import Request, Sampling, SequenceId
from tests.controller.serving.choices.test_race import DRAWN, PAIR, WAYS, Moving, alone, ask
from tests.support.serving_bench import Bench, Heard

Chain = Callable[..., Bench]
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
        bench.loop._broken(list(bench.engine.ledger.accounts)[-1], RuntimeError("it burst"))
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
        bench.loop._broken(other, RuntimeError("it burst"))
        bench.tick()
        assert bench.engine.load().running == 1
        assert not heard.outcomes  # the first thought goes on
        if fails:
            bench.loop._broken(lead, RuntimeError("it burst, too"))
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
