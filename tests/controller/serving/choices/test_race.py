"""Several thoughts of one prompt race where places are idle, and one of them becomes the reply."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.admission import AdmissionLimits
from controller.serving.request import ReasoningRequest
from engine.base import FinishReason, Sampling, SequenceId
from models.kinds.kind import AnswerKind
from models.profile.width import RaceRule
from tests.support.racing_requests import DRAWN, FIRST, IDLE, VOTE, WAYS, Chain, Load, Moving, ask, expected
from tests.support.row_counts import counting
from tests.support.serving_bench import ENDLESS


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


def test_words_of_the_server_in_lost_thoughts_are_rows_and_no_tokens(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(race=replace(VOTE, width=3))), admission=IDLE)
    number, heard = ask(bench)
    bench.tick(12)
    assert bench.loop.end_thought(number)
    bench.run()
    made, landing = heard.outcome, len(bench.thinking.landing)
    assert made.put_in == landing
    assert made.raced_rows - made.raced_tokens == 2 * landing
    assert made.generated_tokens == made.rows - 3 * landing
    assert made.generated_tokens == made.decoded_tokens + made.raced_tokens > made.raced_tokens > 0


@pytest.mark.parametrize("ticks", [0, 1])
def test_a_landing_counts_once_it_has_come(chain: Chain, ticks: int) -> None:
    bench = chain(ENDLESS)
    number, _ = ask(bench, budget=8)
    (sequence,) = bench.engine.ledger.accounts.values()
    while not sequence.due:
        bench.tick()
    bench.tick(ticks)
    (cost,) = bench.loop.cancel(number)
    assert cost.thought.tokens == 8
    assert cost.put_in == ticks * len(bench.thinking.landing)
    assert cost.decoded_tokens == 8 + ticks  # the answer's first token comes with the landing


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


@pytest.mark.parametrize("width", [2, 4])
def test_an_engine_that_cannot_end_a_loser_keeps_no_winner_s_client_waiting(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=replace(FIRST, width=width))), admission=IDLE)
    _, heard = ask(bench)
    bench.tick(2)
    cancel, cancelled = bench.engine.cancel, list[SequenceId]()

    def stuck(sequence: SequenceId) -> None:
        cancelled.append(sequence)
        if len(cancelled) == 2:  # the winner comes first
            raise RuntimeError("it goes on")
        cancel(sequence)

    monkeypatch.setattr(bench.engine, "cancel", stuck)
    while not cancelled:
        bench.tick()
    assert heard.outcome.finish_reason is FinishReason.STOP
    assert heard.content
    assert len(cancelled) == width
    assert not bench.loop.busy


def test_a_rival_that_cannot_be_ended_is_shed_all_the_same(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a vote that is left with two the first thought is the reply, and the other is not needed."""
    policy = FixedPolicy(Limits(race=replace(VOTE, width=3)))
    bench = chain(ENDLESS, policy=policy, admission=AdmissionLimits(slots=3))
    _, heard = ask(bench)
    bench.tick(2)
    assert bench.engine.load().running == 3
    cancel = bench.engine.cancel

    def stuck(sequence: SequenceId) -> None:
        monkeypatch.undo()
        cancel(sequence)
        raise RuntimeError("it says that it goes on")

    monkeypatch.setattr(bench.engine, "cancel", stuck)
    with pytest.raises(RuntimeError, match="it says that it goes on"):
        ask(bench)
    assert bench.engine.load().running == 1
    bench.run()
    assert heard.content


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
    assert bench.loop.busy == rule.vote  # only a vote goes on when one has ended
    assert bool(heard.outcomes) != rule.vote
    assert len(bench.loop.cancel(number)) == (rule.width if rule.vote else 0)
    bench.run()


@pytest.mark.parametrize("ends", ["shed", "failed"])
def test_who_leaves_pays_for_thoughts_that_were_shed_or_have_failed(chain: Chain, ends: str) -> None:
    policy = Moving(replace(FIRST, width=3))
    bench = chain(ENDLESS, policy=policy, admission=IDLE)
    number, _ = ask(bench, max_tokens=200)
    bench.tick(10)
    if ends == "shed":
        policy.rule = None
    else:
        lead, *_ = bench.engine.ledger.accounts
        bench.loop._broken(RuntimeError("it burst"), bench.loop._in_engine.get(lead))
    bench.tick(10)
    costs, accounts = bench.loop.cancel(number), list(bench.engine.ledger.accounts.values())
    assert sum(cost.rows for cost in costs) == sum(len(account.tokens) for account in accounts) >= 30
    assert sum(cost.prompt_tokens for cost in costs) == len(accounts[0].request.prompt)


@pytest.mark.parametrize("rule", [FIRST, VOTE], ids=["first", "vote"])
@pytest.mark.parametrize("seed", range(4))
def test_a_race_counts_as_one_request_until_it_is_decided(chain: Chain, rule: RaceRule, seed: int) -> None:
    load = Load()
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=rule)), admission=IDLE, observer=load)
    ask(bench, sampling=replace(DRAWN, seed=31 * seed))
    bench.run()
    assert set(load.in_system) == {1}


def test_a_race_whose_first_thought_has_failed_counts_as_one_request(chain: Chain) -> None:
    load = Load()
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(race=FIRST)), admission=IDLE, observer=load)
    for _ in range(2):
        ask(bench)
        bench.tick(2)
    for sequence in list(bench.engine.ledger.accounts)[:3]:  # the first race's lead, and two of its rivals
        bench.loop._broken(RuntimeError("it burst"), bench.loop._in_engine.get(sequence))
        bench.tick(2)
    assert load.in_system[-1] == 2
    bench.run()


def test_a_reply_is_not_reproducible_if_its_thought_might_have_raced(chain: Chain) -> None:
    short = AdmissionLimits(slots=2)  # places that are taken by others say the same
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=VOTE)), admission=short)
    raced = {"sampling": DRAWN}
    told = {}
    for name, options in {"raced": raced, "own": raced | {"budget": 20}, "greedy": {"sampling": Sampling()}}.items():
        _, heard = ask(bench, **options)
        bench.run()
        assert heard.outcome.width == 1
        told[name] = heard.outcome.reproducible
    assert told == {"raced": False, "own": True, "greedy": True}
    alone = chain(WAYS, admission=short)
    _, heard = ask(alone, **raced)
    alone.run()
    assert heard.outcome.reproducible


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


def test_a_thought_that_was_asked_to_end_while_it_waited_does_not_race(chain: Chain) -> None:
    policy = Moving(None)
    bench = chain(ENDLESS, policy=policy, admission=AdmissionLimits(slots=FIRST.width))
    for _ in range(FIRST.width):
        ask(bench, max_tokens=200)
    number, heard = ask(bench)
    bench.tick(2)
    policy.rule = FIRST
    assert bench.loop.end_thought(number)
    bench.loop.fail_running("a step has failed")
    bench.tick()
    assert bench.engine.load().running == 1
    bench.run()
    assert (heard.outcome.width, heard.outcome.thought.exit_reason, heard.outcome.thought.tokens) == (1, "requested", 0)
