"""Races of thoughts beside what else may hold a request: an account of risk, a deadline, a stop string, pauses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.admission import AdmissionLimits
from controller.serving.fair_queue import Claim
from controller.serving.ordering.order import Order
from controller.serving.ordering.remaining import RowForecast
from controller.serving.ordering.turns import ServingOrder
from controller.serving.request import ExitReason, RequestId
from engine.base import FinishReason, Sampling
from models.profile.width import RaceRule
from tests.support.racing_requests import DRAWN, FIRST, IDLE, VOTE, WAYS, Chain, ask
from tests.support.serving_bench import ENDLESS, Heard

FORECAST = RowForecast(
    classes=("easy",), thresholds=(None,), budgets=(None,), curves=(None,), mean=((((40.0,),),) * 2,),
    spread=(((0.0,),),) * 2, usual_rows=40.0, answer_rows=1.0,
)  # fmt: skip
PAUSES = ServingOrder(order=Order(head_start_s=math.inf, usual_rows=40.0), forecast=FORECAST, pauses=True)


class Granting:
    """A policy whose requests race, and its keeper, which counts what it grants and what comes of it."""

    def __init__(self, rule: RaceRule) -> None:
        self.rule = rule
        self.granted = 0
        self.told: list[tuple[int, bool]] = []  # grant, served

    @property
    def keeper(self) -> Granting:
        return self

    def limits(self, difficulty: str | None) -> Limits:
        return Limits(race=self.rule)

    def admit(self, difficulty: str | None, key: str, *, pays: bool) -> int:
        assert pays
        self.granted += 1
        return self.granted

    def within(self, grant: int, limits: Limits, age: int) -> Limits:
        return limits

    def served(self, grant: int) -> None:
        self.told.append((grant, True))

    def void(self, grant: int) -> None:
        self.told.append((grant, False))


@pytest.mark.parametrize("rule", [FIRST, VOTE], ids=["first", "vote"])
def test_a_race_is_charged_once_whichever_thought_wins(chain: Chain, rule: RaceRule) -> None:
    policy = Granting(rule)
    bench = chain(WAYS, policy=policy, admission=IDLE)
    served = 0
    for seed in range(6):
        _, heard = ask(bench, sampling=replace(DRAWN, seed=31 * seed))
        bench.run()
        served += heard.outcome.error is None and heard.outcome.width == rule.width
    assert served == policy.granted == 6
    assert policy.told == [(grant, True) for grant in range(1, 7)]


def test_a_race_whose_client_leaves_gets_its_charge_back_once(chain: Chain) -> None:
    policy = Granting(FIRST)
    bench = chain(ENDLESS, policy=policy, admission=IDLE)
    number, _ = ask(bench)
    bench.tick(4)
    bench.loop.cancel(number)
    bench.run()
    assert (policy.granted, policy.told) == (1, [(1, False)])


def test_rivals_that_are_shed_leave_the_charge_as_it_is(chain: Chain) -> None:
    policy = Granting(FIRST)
    bench = chain(ENDLESS, policy=policy, admission=AdmissionLimits(slots=4), max_batch=4)
    ask(bench)
    bench.tick(3)
    for _ in range(3):
        ask(bench)
    assert bench.loop.queue.waiting == 0
    bench.tick()
    assert policy.told == []
    bench.run()
    assert sorted(policy.told) == [(grant, True) for grant in range(1, 5)]


def test_every_thought_of_a_race_is_cut_in_time_for_the_answer(chain: Chain) -> None:
    nearly_greedy = replace(FIRST, asked=0.0, temperature=0.05)
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(race=nearly_greedy)), admission=IDLE)
    bench.ask(budget=3)  # by now it is known what a step and an answer take
    _, heard = ask(bench, max_tokens=200, deadline_s=40.0, sampling=Sampling())
    bench.tick(3)
    assert bench.engine.load().running == FIRST.width
    bench.run()
    outcome = heard.outcome
    assert (outcome.width, outcome.thought.exit_reason) == (FIRST.width, ExitReason.DEADLINE)
    assert (outcome.error, outcome.finish_reason) == (None, FinishReason.STOP)
    assert 25.0 < outcome.total_s <= 40.0
    assert heard.content


@pytest.mark.parametrize("rule", [FIRST, VOTE], ids=["first", "vote"])
@pytest.mark.parametrize("seed", range(4))
def test_a_stop_string_ends_each_answer_of_a_race(chain: Chain, rule: RaceRule, seed: int) -> None:
    """What is served is, to the letter, what one of its thoughts alone would have said up to the stop string."""
    first, alone = replace(DRAWN, seed=31 * seed), chain(WAYS)
    each = [alone.ask(sampling=replace(first, seed=first.seed + place), stop=("Y",)) for place in range(rule.width)]
    assert any(one.content == "X" for one in each)  # and not XY
    bench = chain(WAYS, policy=FixedPolicy(Limits(race=rule)), admission=IDLE)
    _, heard = ask(bench, sampling=first, stop=("Y",))
    bench.run()
    assert heard.outcome.width == rule.width
    assert heard.outcome.finish_reason is FinishReason.STOP
    assert "Y" not in heard.content
    assert (heard.reasoning, heard.content) in [(one.reasoning, one.content) for one in each]


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_left_of_a_race_pauses_as_a_thought_alone_does(chain: Chain, fails: bool) -> None:
    """Rivals are shed first; then the first thought, or if it has failed the last rival, gives its place away."""
    rule = replace(FIRST, width=2, asked=0.0)
    bench = chain(
        ENDLESS, policy=FixedPolicy(Limits(race=rule)), order=PAUSES, max_batch=2, admission=AdmissionLimits(slots=2)
    )
    heard = [ask(bench, sampling=Sampling(), claim=Claim(length=60.0))[1]]
    bench.tick(3)
    assert bench.engine.load().running == 2
    if fails:
        lead, *_ = bench.engine.ledger.accounts
        bench.loop._broken(RuntimeError("it burst"), bench.loop._in_engine.get(lead))
    for length in (20.0, 10.0):
        heard.append(ask(bench, max_tokens=30, sampling=Sampling(), claim=Claim(length=length))[1])
        bench.tick(2)
    load = bench.engine.load()
    assert (load.running, load.waiting, load.paused) == (2, 0, 1)
    bench.run()
    assert [one.outcome.error for one in heard] == [None] * 3
    assert heard[0].outcome.raced_rows > 0
    assert [one.outcome.total_s for one in heard[1:]] < [heard[0].outcome.total_s] * 2
    cost = sum(one.outcome.prompt_tokens + one.outcome.rows for one in heard)
    assert bench.loop._admission.start(Claim()) == pytest.approx(cost)


@pytest.mark.parametrize("seed", range(3))
def test_races_and_pauses_under_changing_load_lose_nothing(chain: Chain, seed: int) -> None:
    import numpy as np

    rng = np.random.default_rng(seed)
    bench = chain(
        WAYS, policy=FixedPolicy(Limits(race=replace(VOTE, width=3))), order=PAUSES, max_batch=4, cells=1200,
        admission=AdmissionLimits(slots=4),
    )  # fmt: skip
    asked: dict[RequestId, Heard] = {}
    left: set[RequestId] = set()
    paused = 0
    for _ in range(200):
        if rng.random() < 0.25:
            length = float(rng.integers(2, 60))
            sampling = replace(DRAWN, seed=int(rng.integers(1000)))
            number, heard = ask(bench, sampling=sampling, claim=Claim(length=length))
            asked[number] = heard
        if asked and rng.random() < 0.03:
            number = list(asked)[int(rng.integers(len(asked)))]
            if not asked[number].outcomes and number not in left:
                bench.loop.cancel(number)
                left.add(number)
        bench.tick()
        paused = max(paused, bench.engine.load().paused)
    bench.run()
    assert paused
    assert any(one.outcomes and one.outcome.width > 1 for one in asked.values())
    for number, heard in asked.items():
        assert len(heard.outcomes) == (number not in left)
        assert number in left or (heard.content and heard.outcome.error is None)
