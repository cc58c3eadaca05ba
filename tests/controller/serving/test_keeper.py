"""What the loop asks a policy's keeper: one grant for each thought that begins, its limits, and what was not served."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from controller.policy import Limits, QueueLengthObserver
from controller.risk.account import RiskSettings
from controller.risk.keeper import RiskKeeper
from controller.serving.admission import AdmissionLimits
from controller.serving.fair_queue import Claim
from controller.serving.ordering.order import Order
from controller.serving.ordering.remaining import RowForecast
from controller.serving.ordering.turns import ServingOrder
from controller.serving.reply import Delta
from controller.serving.request import ExitReason, Outcome, ReasoningRequest
from controller.serving.status import Stage
from engine.base import FinishReason
from models.kinds.kind import AnswerKind
from tests.support.account_profile import account_profile
from tests.support.analysis_profile import CLASSES
from tests.support.serving_bench import BRIEF, ENDLESS, Bench

Chain = Callable[..., Bench]
LEAST = 0.95  # above the scripted answer's confidence, .9
PROFILE = account_profile(1000)
FORECAST = RowForecast(
    classes=("easy",), thresholds=(None,), budgets=(None,), curves=(None,), mean=((((40.0,),),) * 2,),
    spread=(((0.0,),),) * 2, usual_rows=40.0, answer_rows=1.0,
)  # fmt: skip
PAUSES = ServingOrder(order=Order(head_start_s=math.inf, usual_rows=40.0), forecast=FORECAST, pauses=True)


@dataclass(eq=False)
class Granted:
    """A grant, and the ages at which its thought was looked at."""

    key: str
    pays: bool
    threshold: float
    ages: list[int] = field(default_factory=list)
    served: bool | None = None  # None: it goes on


@dataclass
class Counting:
    """A policy that would close any thought at .85, and its keeper, which holds those to .95 who do not pay."""

    granted: list[Granted] = field(default_factory=list)

    @property
    def keeper(self) -> Counting:
        return self

    def limits(self, difficulty: str | None) -> Limits:
        return Limits(threshold=0.85)

    def admit(self, difficulty: str | None, key: str, *, pays: bool) -> Granted:
        self.granted.append(Granted(key=key, pays=pays, threshold=0.85 if pays else LEAST))
        return self.granted[-1]

    def within(self, grant: Granted, limits: Limits, age: int) -> Limits:
        grant.ages.append(age)
        return Limits(threshold=max(limits.threshold or 0.0, grant.threshold))

    def served(self, grant: Granted) -> None:
        grant.served = True

    def void(self, grant: Granted) -> None:
        grant.served = False


def test_a_thought_pays_once_as_it_begins_and_is_looked_at_as_it_grows(chain: Chain) -> None:
    policy = Counting()
    heard = chain(ENDLESS, policy=policy).ask(claim=Claim(tenant="ours"))
    assert heard.outcome.thought.exit_reason is ExitReason.CONFIDENCE
    (grant,) = policy.granted
    assert (grant.key, grant.pays, grant.served) == ("ours", True, True)
    assert grant.ages[0] == 0
    assert grant.ages == sorted(grant.ages)
    assert grant.ages[-1] >= heard.outcome.thought.tokens


def test_each_reply_to_a_request_pays(chain: Chain) -> None:
    policy = Counting()
    bench = chain(ENDLESS, policy=policy)
    prompt = bench.thinking.prompt(tuple(bench.tokenizer.encode("?")), thinking=True)
    heard: list[Delta | Outcome] = []
    bench.loop.submit(ReasoningRequest(prompt=prompt, max_tokens=60, choices=3), heard.append)
    bench.run()
    assert sum(isinstance(news, Outcome) for news in heard) == 3
    assert [grant.pays for grant in policy.granted] == [True] * 3


def test_own_budgets_and_early_exit_off_do_not_pay_and_keep_to_their_grant(chain: Chain) -> None:
    policy = Counting()
    bench = chain(ENDLESS, policy=policy)
    assert bench.ask(budget=30).outcome.thought.exit_reason is ExitReason.BUDGET  # .9 is not enough for its grant
    bench.ask(early_exit=False)
    assert [grant.pays for grant in policy.granted] == [False, False]


def test_limits_of_the_client_s_own_and_no_thought_have_no_grant(chain: Chain) -> None:
    policy = Counting()
    bench = chain(ENDLESS, policy=policy, certified=frozenset({AnswerKind.SHORT}))
    bench.ask(fixed=Limits(threshold=0.9))
    bench.ask(thinking=False)
    bench.ask(answer=AnswerKind.OPEN)  # its limits are not certified: it has the full thought
    assert policy.granted == []


def test_who_has_gone_or_failed_was_not_served(chain: Chain) -> None:
    policy = Counting()
    bench = chain(ENDLESS, policy=policy, max_batch=2)
    first, _ = bench.submit(early_exit=True)
    bench.submit()
    bench.tick(2)
    bench.cancel(first)
    bench.loop.fail_running("the engine has failed")
    assert [grant.served for grant in policy.granted] == [False, False]
    bench.ask()
    assert policy.granted[-1].served


@pytest.mark.parametrize("ended", ["confidence", "budget", "natural", "requested"])
def test_who_leaves_behind_an_exit_has_met_what_it_was_charged_for(chain: Chain, ended: str) -> None:
    policy = Counting()
    bench = chain(BRIEF if ended == "natural" else ENDLESS, policy=policy)
    own = {"confidence": {}, "budget": {"budget": 5}, "natural": {"early_exit": False}, "requested": {}}[ended]
    request, heard = bench.queue(**own)
    if ended == "requested":
        bench.tick()
        assert bench.loop.end_thought(request)
    for _ in range(30):
        bench.tick()
        (running,) = bench.loop.status().running
        if running.stage is Stage.ANSWERING or (running.confidence or 0.0) > 0.85:  # the trial is the answer
            break
    (left,) = bench.loop.cancel(request)
    assert (left.thought.exit_reason, heard.outcomes) == (ended, [])
    assert [grant.served for grant in policy.granted] == [ended in ("confidence", "budget")]


def test_who_never_began_has_paid_nothing(chain: Chain) -> None:
    policy = Counting()
    bench = chain(ENDLESS, policy=policy, admission=AdmissionLimits(slots=1))
    bench.queue()
    waits, _ = bench.queue()
    bench.tick()
    bench.loop.cancel(waits)
    assert len(policy.granted) == 1


class Charged:
    """A policy that never closes the scripted thoughts, and the real keeper of an account."""

    def __init__(self) -> None:
        self.threshold = 0.95  # above the scripted answer's confidence
        self.keeper = RiskKeeper(PROFILE, RiskSettings(), time_s=lambda: 0.0)
        self.ask(0.95)

    def ask(self, threshold: float) -> None:
        """Changes the limits in force."""
        self.threshold = threshold
        named = dict.fromkeys((*CLASSES, None), Limits(threshold=threshold))
        self.keeper.expect(named, named)

    def limits(self, difficulty: str | None) -> Limits:
        return Limits(threshold=self.threshold)


class Finished(QueueLengthObserver):
    """An observer that keeps the rows of requests that have ended."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def finished(self, difficulty: str | None, tokens: int) -> None:
        self.rows.append(tokens)

    def tick(self, now: float, in_system: int) -> None:
        pass


def test_a_thought_that_the_account_holds_back_does_not_tell_what_the_policy_s_limits_take(chain: Chain) -> None:
    policy, load = Charged(), Finished()
    keeper = policy.keeper
    bench = chain(BRIEF, policy=policy, observer=load)
    rows = [bench.ask().outcome.rows]
    assert load.rows == rows
    policy.ask(0.65)
    bench.ask()
    assert keeper.status(0.0).refused == 1
    assert load.rows == rows
    while keeper.account.left < 1.0:
        keeper.account.serve(keeper.account.admit(0.0, "", 0.0), 0.0)
    rows.append(bench.ask().outcome.rows)
    assert keeper.status(0.0).refused == 1
    assert load.rows == rows


def test_who_is_held_back_later_tells_all_the_same(chain: Chain) -> None:
    """Left out would be the long thoughts alone, which are still running when the load asks for more."""
    policy, load = Charged(), Finished()
    bench = chain(ENDLESS, policy=policy, observer=load)
    _, heard = bench.queue()
    bench.tick(20)
    policy.ask(0.65)
    bench.tick()
    policy.ask(0.95)
    bench.run()
    assert policy.keeper.status(0.0).topped_up == 0
    assert load.rows == [heard.outcome.rows]


def test_a_thought_that_pauses_keeps_its_charge_and_is_charged_once(chain: Chain) -> None:
    policy = Charged()
    account = policy.keeper.account
    bench = chain(ENDLESS, policy=policy, order=PAUSES, max_batch=1, admission=AdmissionLimits(slots=1))
    _, long = bench.queue(max_tokens=120, claim=Claim(length=80.0))
    bench.tick(5)
    charge = account.spent
    assert charge > 0.0
    _, short = bench.queue(max_tokens=30, claim=Claim(length=10.0))
    bench.tick(2)
    assert bench.engine.load().paused == 1
    assert (account.requests, account.spent) == (2, pytest.approx(2.0 * charge))
    bench.run()
    assert long.outcome.queue_s == 0.0
    assert short.outcome.finish_reason is not FinishReason.ERROR
    assert (account.requests, account.spent) == (2, pytest.approx(2.0 * charge))


def test_limits_that_loosen_while_a_thought_pauses_are_topped_up_by_its_age(chain: Chain) -> None:
    policy = Charged()
    keeper = policy.keeper
    for _ in range(50):
        keeper.account.serve(keeper.account.admit(0.0, "", 0.0), 0.0)
    bench = chain(ENDLESS, policy=policy, order=PAUSES, max_batch=1, admission=AdmissionLimits(slots=1))
    bench.queue(max_tokens=120, claim=Claim(length=80.0))
    bench.tick(20)
    bench.queue(max_tokens=30, claim=Claim(length=10.0))
    bench.tick(2)
    assert bench.engine.load().paused == 1
    policy.ask(0.9)
    bench.run()
    harm = PROFILE.harm
    assert harm is not None
    bound = float(harm.bounds[0, 0, PROFILE.thresholds.index(0.9), 0])
    assert keeper.status(0.0).topped_up == 2  # the short one that ran, and the long one that paused
    alive = [harm.share_alive(0, (0, PROFILE.thresholds.index(0.95), 0), age) for age in (1, 20)]
    assert keeper.account.spent >= bound / (alive[0] or 0.0) + bound / (alive[1] or 0.0) - 1e-12
