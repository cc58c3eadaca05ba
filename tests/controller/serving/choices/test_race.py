"""Several thoughts of one prompt race where places are idle, and one of them becomes the reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.admission import AdmissionLimits
from controller.serving.choices.ballot import Ballot, voted
from controller.serving.request import ReasoningRequest, RequestId
from engine.base import FinishReason, Sampling
from models.kinds.kind import AnswerKind
from models.profile.width import RaceRule
from tests.support.row_counts import counting
from tests.support.serving_bench import ANSWER, ENDLESS, Bench, Heard

Chain = Callable[..., Bench]
WAYS = {
    "\n": {"a": 0.5, "b": 0.4},
    "a": {"b": 0.6, "</think>": 0.3},
    "b": {"a": 0.6, "</think>": 0.3},
    **ANSWER,
    "</think>": {"X": 0.5, "Y": 0.4},
}
DRAWN = Sampling(temperature=1.0, seed=7)
IDLE = AdmissionLimits(slots=8)
FIRST = RaceRule(width=4, asked=1.0, temperature=1.0)
VOTE = replace(FIRST, width=5, vote=True)
PAIR = replace(VOTE, width=3)


class Moving:
    """A policy whose races a test may stop."""

    def __init__(self, rule: RaceRule | None) -> None:
        self.rule = rule

    def limits(self, difficulty: str | None) -> Limits:
        return Limits(race=self.rule)


class Load:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.arrivals = 0
        self.rows: list[int] = []
        self.in_system: list[int] = []

    def arrived(self, difficulty: str | None) -> None:
        self.arrivals += 1

    def finished(self, difficulty: str | None, tokens: int) -> None:
        self.rows.append(tokens)

    def stepped(self, batch: int, context: float, seconds: float) -> None:
        pass

    def tick(self, now: float, in_system: int) -> None:
        self.in_system.append(in_system)


def ask(bench: Bench, prompt: str = "?", **options: Any) -> tuple[RequestId, Heard]:
    """Submit a request of which no trial answers are wanted."""
    heard = Heard()
    tokens = bench.thinking.prompt(tuple(bench.tokenizer.encode(prompt)), thinking=True)
    request = ReasoningRequest(**{"prompt": tokens, "max_tokens": 60, "sampling": DRAWN, **options})
    return bench.loop.submit(request, heard), heard


def alone(bench: Bench, samplings: Sequence[Sampling]) -> list[Heard]:
    """Returns the replies that requests get which do not race."""
    return [bench.ask(sampling=each) for each in samplings]


def expected(bench: Bench, rule: RaceRule, first: Sampling = DRAWN) -> tuple[Heard, int]:
    """Returns the reply that a race is to serve, and the rows of all its thoughts until it is decided.

    Rivals begin a step after the first thought, whose prompt they share.
    """
    others = [Sampling(temperature=rule.temperature, seed=first.seed + place) for place in range(1, rule.width)]
    each = alone(bench, [first, *others])
    lengths = [one.outcome.completion_tokens + (place > 0) for place, one in enumerate(each)]
    ballot = Ballot(rule.width, vote=rule.vote)
    for place in sorted(range(rule.width), key=lambda place: lengths[place]):
        won = ballot.answer(place, voted(each[place].content))
        if won is not None:
            return each[won], sum(min(length, lengths[place]) for length in lengths)
    raise AssertionError("nobody won")


@pytest.mark.parametrize("rule", [FIRST, VOTE, replace(VOTE, width=3)], ids=["first", "vote of 5", "vote of 3"])
@pytest.mark.parametrize("seed", range(6))
def test_a_race_serves_the_winner_alone(chain: Chain, rule: RaceRule, seed: int) -> None:
    first = replace(DRAWN, seed=31 * seed)
    wanted, _ = expected(chain(WAYS), rule, first)
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=rule)), admission=IDLE)
    _, heard = ask(bench, sampling=first)
    bench.run()
    assert (heard.reasoning, heard.content) == (wanted.reasoning, wanted.content)
    assert (heard.outcome.width, heard.outcome.choice, heard.outcome.going_on) == (rule.width, 0, 0)
    assert heard.outcome.prompt_tokens == wanted.outcome.prompt_tokens
    assert heard.outcome.finish_reason is FinishReason.STOP


def test_greedy_requests_race_against_sampled_thoughts(chain: Chain) -> None:
    rule = replace(VOTE, asked=0.0)
    wanted, _ = expected(chain(WAYS), rule, Sampling())
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=rule)), admission=IDLE)
    _, heard = ask(bench, sampling=Sampling())
    bench.run()
    assert (heard.reasoning, heard.content) == (wanted.reasoning, wanted.content)


@pytest.mark.parametrize("rule", [FIRST, VOTE], ids=["first", "vote"])
def test_the_rows_of_all_thoughts_are_told_until_the_race_is_decided(chain: Chain, rule: RaceRule) -> None:
    _, rows = expected(chain(WAYS), rule)
    load = Load()
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=rule)), admission=IDLE, observer=load)
    _, heard = ask(bench)
    bench.run()
    made = heard.outcome
    assert rows - 2 * rule.width < made.rows <= rows  # rivals' first steps, and what an earlier event has cancelled
    assert load.rows == [made.rows - made.raced_rows]
    assert (load.arrivals, max(load.in_system)) == (1, 1)


def test_a_race_reads_its_prompt_once(chain: Chain) -> None:
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=FIRST)), admission=IDLE)
    rows = counting(bench.engine._engine)
    prompt = "?" + "ab " * 60
    _, heard = ask(bench, prompt)
    bench.run()
    length = len(bench.thinking.prompt(tuple(bench.tokenizer.encode(prompt)), thinking=True))
    assert length > 100
    assert rows() <= length - 1 + heard.outcome.rows + FIRST.width  # a row of each may be on its way


def test_nothing_is_told_before_the_race_is_decided(chain: Chain) -> None:
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=VOTE)), admission=IDLE)
    _, heard = ask(bench)
    while bench.loop.busy:
        assert not heard.deltas
        assert not heard.outcomes
        bench.tick()
    assert heard.content
    assert heard.outcome.ttft_s == heard.outcome.total_s
    assert not heard.outcome.reproducible


def test_a_race_comes_out_the_same_with_the_same_seed(chain: Chain) -> None:
    found = []
    for _ in range(2):
        bench = chain(WAYS, policy=FixedPolicy(Limits(race=VOTE)), admission=IDLE)
        _, heard = ask(bench)
        bench.run()
        found.append((heard.reasoning, heard.content, heard.outcome.rows))
    assert found[0] == found[1]


def test_who_leaves_takes_the_whole_race_along(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(race=FIRST)), admission=IDLE)
    number, heard = ask(bench, max_tokens=200)
    bench.tick(4)
    assert bench.engine.load().running == FIRST.width
    costs = bench.loop.cancel(number)
    assert len(costs) == FIRST.width
    assert [cost.prompt_tokens > 0 for cost in costs] == [True, False, False, False]
    assert not bench.loop.busy
    assert not heard.deltas
    assert not heard.outcomes
    bench.run()  # and the engine holds nothing


@pytest.mark.parametrize("rule", [FIRST, VOTE], ids=["first", "vote"])
def test_who_leaves_late_pays_for_thoughts_that_have_ended(chain: Chain, rule: RaceRule) -> None:
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=rule)), admission=IDLE)
    number, heard = ask(bench)
    while bench.loop.busy and bench.engine.load().running in (0, rule.width):
        bench.tick()
    if bench.loop.busy:  # only a vote goes on when one has ended
        assert rule.vote
        assert len(bench.loop.cancel(number)) == rule.width
        assert not heard.outcomes
    bench.run()


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


def test_nobody_races_where_places_are_short(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(race=FIRST)), admission=AdmissionLimits(slots=3), max_batch=3)
    _, heard = ask(bench)
    bench.run()
    assert heard.outcome.width == 1
    unknown = chain(ENDLESS, policy=FixedPolicy(Limits(race=FIRST)))  # nobody says how many places there are
    _, heard = ask(unknown)
    unknown.run()
    assert heard.outcome.width == 1


@pytest.mark.parametrize(
    "options",
    [
        {"choices": 2},
        {"log_probs": 0},
        {"budget": 10},
        {"early_exit": False},
        {"thinking": False},
        {"answer": AnswerKind.OPEN},
        {"sampling": Sampling()},
        {"sampling": replace(DRAWN, top_p=0.9)},
        {"fixed": Limits()},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_is_more_than_one_plain_short_answer_does_not_race(chain: Chain, options: dict[str, Any]) -> None:
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=FIRST)), admission=IDLE)
    heard: list[Any] = []
    tokens = bench.thinking.prompt(tuple(bench.tokenizer.encode("?")), thinking=options.get("thinking", True))
    request = ReasoningRequest(**{"prompt": tokens, "max_tokens": 60, "sampling": DRAWN, **options})
    bench.loop.submit(request, heard.append)
    bench.tick()
    assert bench.engine.load().running == request.choices
    bench.run()


def test_who_watches_trial_answers_does_not_race(chain: Chain) -> None:
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=FIRST)), admission=IDLE)
    assert bench.ask(sampling=DRAWN).outcome.width == 1


def test_a_thought_that_fails_leaves_the_race_to_the_others(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(race=FIRST)), admission=IDLE)
    _, heard = ask(bench)
    bench.tick(2)
    lead, *_ = bench.engine.ledger.accounts
    bench.loop._broken(lead, RuntimeError("it burst"))
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
    bench.loop._broken(lead, RuntimeError("it burst"))
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
