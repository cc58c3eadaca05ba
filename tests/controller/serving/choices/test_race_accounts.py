"""What races tell of themselves: the rows and tokens of all thoughts, how many requests they are, what comes again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.admission import AdmissionLimits
from engine.base import Sampling
from models.profile.width import RaceRule
from tests.support.races import DRAWN, FIRST, IDLE, VOTE, WAYS, Load, Moving, ask
from tests.support.serving_bench import ENDLESS, Bench

Chain = Callable[..., Bench]


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
        bench.loop._broken(lead, RuntimeError("it burst"))
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
        bench.loop._broken(sequence, RuntimeError("it burst"))
        bench.tick(2)
    assert load.in_system[-1] == 2
    bench.run()


def test_a_reply_is_not_reproducible_if_its_thought_might_have_raced(chain: Chain) -> None:
    short = AdmissionLimits(slots=2)  # places that are taken by others say the same
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=VOTE)), admission=short)
    raced: dict[str, Any] = {"sampling": DRAWN}
    asked = {"raced": raced, "own": raced | {"budget": 20}, "greedy": {"sampling": Sampling()}}
    told = {}
    for name, options in asked.items():
        _, heard = ask(bench, **options)
        bench.run()
        assert heard.outcome.width == 1
        told[name] = heard.outcome.reproducible
    assert told == {"raced": False, "own": True, "greedy": True}
    alone = chain(WAYS, admission=short)
    _, heard = ask(alone, **raced)
    alone.run()
    assert heard.outcome.reproducible
