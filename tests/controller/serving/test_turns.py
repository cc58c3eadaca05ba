"""The serving loop's queue, and thoughts that end for their circles, their deadline, or because somebody asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.admission import AdmissionLimits, Overloaded
from controller.serving.fair_queue import Claim
from controller.serving.repetition import LoopDetection
from controller.serving.request import ExitReason, Outcome, ReasoningRequest, RequestId
from engine.base import CapacityError, FinishReason
from tests.support.serving_bench import BRIEF, ENDLESS, Bench, Heard

Chain = Callable[..., Bench]

LONG = {"max_tokens": 200}


def offer(bench: Bench, **options: object) -> tuple[RequestId, Heard]:
    """A request that may have to wait, and its number at the loop."""
    heard = Heard()
    prompt = bench.thinking.prompt(bench.tokenizer.encode("?"), thinking=True)
    request = ReasoningRequest(**{"prompt": tuple(prompt), "max_tokens": 60, **options})  # type: ignore[arg-type]
    return bench.loop.submit(request, heard), heard


def exit_reason(outcome: Outcome) -> ExitReason:
    assert outcome.thought.exit_reason is not None
    return outcome.thought.exit_reason


def test_a_thought_that_goes_round_in_circles_is_closed_and_answered(chain: Chain) -> None:
    bench = chain(ENDLESS, loops=LoopDetection(times=3, least=12, window=40, every=4))
    heard = bench.ask(**LONG)
    assert exit_reason(heard.outcome) is ExitReason.LOOP
    assert heard.outcome.thought.tokens == 12
    assert heard.content == "XY"


def test_a_thought_may_be_ended_on_request(chain: Chain) -> None:
    bench = chain(ENDLESS)
    number, heard = offer(bench, **LONG)
    bench.tick(8)
    assert bench.loop.end_thought(number)
    bench.run()
    assert exit_reason(heard.outcome) is ExitReason.REQUESTED
    assert heard.content == "XY"
    assert heard.outcome.completion_tokens < 20
    assert not bench.loop.end_thought(number)


def test_a_thought_that_has_not_begun_may_be_ended_too(chain: Chain) -> None:
    bench = chain(ENDLESS, admission=AdmissionLimits(slots=1))
    offer(bench, budget=5)
    number, heard = offer(bench, **LONG)
    assert bench.loop.end_thought(number)
    bench.run()
    assert exit_reason(heard.outcome) is ExitReason.REQUESTED
    assert (heard.reasoning, heard.content) == ("~", "XY")


@pytest.mark.slow
def test_a_thought_is_cut_in_time_for_its_answer(chain: Chain) -> None:
    bench = chain(ENDLESS)
    bench.ask(budget=3)  # by now it is known what a step and an answer take
    heard = bench.ask(max_tokens=200, deadline_s=40.0)
    assert exit_reason(heard.outcome) is ExitReason.DEADLINE
    assert heard.content == "XY"
    assert 30.0 < heard.outcome.total_s <= 40.0


def test_a_request_whose_deadline_passes_in_the_queue_ends_with_an_error(chain: Chain) -> None:
    bench = chain(ENDLESS, admission=AdmissionLimits(slots=1))
    _, first = offer(bench, budget=30)
    _, late = offer(bench, deadline_s=10.0)
    bench.run()
    assert first.content == "XY"
    assert (late.outcome.finish_reason, late.outcome.expired) == (FinishReason.ERROR, True)
    assert late.outcome.error == "the deadline has passed after 10.0 s in the queue"
    assert late.deltas == []


def test_times_and_deadlines_count_from_when_a_request_came(chain: Chain) -> None:
    """It may have waited for its grammar, or for a process, before it was submitted."""
    now = chain(BRIEF).ask(max_tokens=60).outcome
    bench = chain(BRIEF)
    _, waited = offer(bench, waited_s=5.0)
    bench.run()
    assert now.ttft_s is not None
    times = (now.queue_s + 5.0, now.ttft_s + 5.0, now.total_s + 5.0)
    assert (waited.outcome.queue_s, waited.outcome.ttft_s, waited.outcome.total_s) == times
    _, late = offer(bench, waited_s=5.0, deadline_s=4.0)
    assert late.outcome.expired
    assert late.outcome.error == "the deadline has passed after 5.0 s in the queue"
    assert not bench.loop.busy


def test_patience_counts_from_when_a_request_came(chain: Chain) -> None:
    bench = chain(BRIEF, admission=AdmissionLimits(slots=1))
    bench.ask()
    offer(bench)
    bench.tick(3)
    assert bench.loop.queue.wait_s(1) > 0.5
    with pytest.raises(Overloaded, match=r"the request allows 0\.1 s"):
        offer(bench, ttft_s=9.1, waited_s=9.0)
    with pytest.raises(Overloaded, match="the request allows 0 s"):
        offer(bench, ttft_s=3.0, waited_s=9.0)
    _, patient = offer(bench, ttft_s=99.0, waited_s=9.0)
    bench.run()
    assert patient.content == "XY"


def test_nobody_gives_way_for_one_whose_deadline_has_passed(chain: Chain) -> None:
    bench = chain(BRIEF, admission=AdmissionLimits(slots=1, max_waiting=2))
    crowd = [offer(bench, claim=Claim(tenant="crowd"))[1] for _ in range(3)]
    bench.tick(3)
    _, late = offer(bench, claim=Claim(tenant="alone"), waited_s=5.0, deadline_s=4.0)
    assert late.outcome.expired
    bench.run()
    assert [client.content for client in crowd] == ["XY"] * 3


def test_a_clients_own_words_close_its_thought(chain: Chain) -> None:
    bench = chain(ENDLESS)
    landing = tuple(bench.tokenizer.encode("b" * 12 + "</think>"))
    heard = bench.ask(max_tokens=60, budget=2, landing=landing)
    assert (heard.reasoning, heard.content) == ("ab" + "b" * 12, "XY")
    nothing = bench.ask(max_tokens=2, budget=2, landing=landing)
    assert nothing.content


def test_words_that_do_not_fit_are_refused(chain: Chain) -> None:
    bench = chain(ENDLESS)
    with pytest.raises(CapacityError, match="must be at most"):
        bench.submit(max_tokens=bench.loop.room - 10, landing=(bench.thinking.close_id,) * 30)


@pytest.mark.parametrize("budget", [None, 20])
def test_no_budget_is_above_the_ceiling(chain: Chain, budget: int | None) -> None:
    heard = chain(ENDLESS, policy=FixedPolicy(Limits(budget=30))).ask(max_tokens=200, budget=budget, max_budget=6)
    assert heard.outcome.thought.tokens == 6


def test_those_beyond_the_slots_wait_their_turn_and_are_all_served(chain: Chain) -> None:
    bench = chain(BRIEF, admission=AdmissionLimits(slots=2))
    heard = [offer(bench, name=f"r{n}")[1] for n in range(7)]
    load = bench.engine.load()
    assert (load.running + load.waiting) == 2
    bench.tick()
    assert [name for name, _ in bench.loop.queue.turns] == [f"r{n}" for n in range(2, 7)]
    bench.run()
    assert [client.content for client in heard] == ["XY"] * 7
    assert bench.loop.queue.waiting == 0
    queued = [client.outcome.queue_s for client in heard]
    assert queued == sorted(queued)


def test_a_tenant_does_not_wait_behind_anothers_crowd(chain: Chain) -> None:
    bench = chain(BRIEF, admission=AdmissionLimits(slots=1))
    crowd = [offer(bench, claim=Claim(tenant="crowd"))[1] for _ in range(6)]
    _, alone = offer(bench, claim=Claim(tenant="alone"))
    bench.run()
    assert sum(client.outcome.total_s < alone.outcome.total_s for client in crowd) <= 2


def test_a_full_queue_refuses_and_what_was_accepted_is_served(chain: Chain) -> None:
    bench = chain(BRIEF, admission=AdmissionLimits(slots=1, max_waiting=2))
    accepted = [offer(bench)[1] for _ in range(3)]
    bench.tick(4)
    with pytest.raises(Overloaded, match="2 requests wait already") as refusal:
        offer(bench)
    # each may have 60 tokens and is taken for half of that; the one that runs has had 4
    assert refusal.value.retry_after_s == pytest.approx(26.0 + 2 * 30.0)
    bench.run()
    assert [client.content for client in accepted] == ["XY"] * 3
    assert bench.loop.queue.turned_away == 1


def test_a_cancelled_request_leaves_the_queue(chain: Chain) -> None:
    bench = chain(BRIEF, admission=AdmissionLimits(slots=1))
    _, first = offer(bench)
    gone, silent = offer(bench)
    bench.tick()
    bench.loop.cancel(gone)
    bench.run()
    assert first.content == "XY"
    assert (silent.deltas, silent.outcomes) == ([], [])


def test_a_failed_engine_spares_those_that_wait(chain: Chain) -> None:
    bench = chain(BRIEF, admission=AdmissionLimits(slots=1))
    _, hit = offer(bench)
    _, waits = offer(bench)
    bench.tick(3)
    bench.loop.fail_running("out of memory")
    bench.run()
    assert hit.outcome.error == "out of memory"
    assert waits.content == "XY"


def test_a_request_that_the_engine_refuses_ends_with_the_reason(chain: Chain) -> None:
    bench = chain(BRIEF)
    _, refused = offer(bench, prompt=(10**6,))
    _, fine = offer(bench)
    bench.run()
    assert refused.outcome.finish_reason is FinishReason.ERROR
    assert str(refused.outcome.error).startswith("TokenError: the prompt has token 1000000")
    assert fine.content == "XY"


# --- when there is more than the queue may hold, or than the engine has memory for


def test_in_a_full_queue_a_crowds_last_gives_way_to_another_tenant(chain: Chain) -> None:
    bench = chain(BRIEF, admission=AdmissionLimits(slots=1, max_waiting=2))
    crowd = [offer(bench, claim=Claim(tenant="crowd"))[1] for _ in range(3)]
    bench.tick(3)
    _, alone = offer(bench, claim=Claim(tenant="alone"))
    outcome = crowd[-1].outcome
    assert (outcome.finish_reason, outcome.expired) == (FinishReason.ERROR, False)
    assert outcome.error is not None
    assert "2 requests wait already, may be at most 2, and this one gives way" in outcome.error
    assert outcome.retry_after_s is not None
    assert outcome.retry_after_s > 1.0
    with pytest.raises(Overloaded):
        offer(bench, claim=Claim(tenant="alone"))
    bench.run()
    assert [client.content for client in (*crowd[:2], alone)] == ["XY"] * 3
    assert bench.loop.queue.turned_away == 2
    assert bench.loop.status().finished == 4


def test_a_newcomer_takes_the_place_that_was_freed_since_the_last_step(chain: Chain) -> None:
    bench = chain(BRIEF, admission=AdmissionLimits(slots=1, max_waiting=1))
    first, second = offer(bench)[1], offer(bench)[1]
    while not first.outcomes:
        bench.tick()
    _, third = offer(bench)
    bench.run()
    assert second.content == third.content == "XY"


def cramped(chain: Chain, **options: object) -> Bench:
    """Eight slots, and memory for two requests of 60 tokens."""
    return chain(BRIEF, cells=180, admission=AdmissionLimits(slots=8), **options)


def test_requests_without_memory_wait_where_turns_are_told(chain: Chain) -> None:
    bench = cramped(chain)
    heard = [offer(bench, name=f"r{n}")[1] for n in range(7)]
    bench.tick(2)
    load = bench.engine.load()
    assert (load.running, load.waiting) == (2, 1)  # one at most is handed over before there is memory for it
    assert [name for name, _ in bench.loop.queue.turns] == [f"r{n}" for n in range(2, 7)]
    assert bench.loop.queue.running == 2
    assert bench.loop.status().load.waiting == 5
    bench.run()
    assert [client.content for client in heard] == ["XY"] * 7


def test_no_step_is_lost_for_waiting_outside_the_engine(chain: Chain) -> None:
    def steps(bench: Bench) -> float:
        for _ in range(8):
            offer(bench)
        bench.run()
        return bench.now

    assert steps(cramped(chain)) == steps(chain(BRIEF, admission=AdmissionLimits(slots=2)))


def test_turns_are_fair_where_memory_is_short(chain: Chain) -> None:
    bench = cramped(chain)
    crowd = [offer(bench, claim=Claim(tenant="crowd"))[1] for _ in range(8)]
    bench.tick()
    _, alone = offer(bench, claim=Claim(tenant="alone"))
    bench.run()
    assert sum(client.outcome.total_s < alone.outcome.total_s for client in crowd) <= 4


def test_a_deadline_passes_for_one_that_waits_for_memory_too(chain: Chain) -> None:
    bench = chain(ENDLESS, cells=180, admission=AdmissionLimits(slots=8))
    busy = [offer(bench, budget=30)[1] for _ in range(2)]
    _, late = offer(bench, deadline_s=6.0)
    bench.tick(2)
    assert bench.engine.load().waiting == 1
    bench.run()
    assert late.outcome.expired
    assert late.outcome.error == "the deadline has passed after 6.0 s in the queue"
    assert [client.content for client in busy] == ["XY"] * 2


def test_times_are_told_anew_while_the_queue_stands_still(chain: Chain) -> None:
    bench = chain(ENDLESS, admission=AdmissionLimits(slots=1))
    for name in ("runs", "waits"):
        offer(bench, name=name, budget=40)
    told = []
    for _ in range(20):
        bench.tick()
        told.append(bench.loop.queue.drain_s)
    assert told[-1] < told[2]
    assert len(set(told)) > 10


def test_a_queue_that_stands_still_is_not_told_ten_times_a_second(chain: Chain) -> None:
    bench = chain(ENDLESS, admission=AdmissionLimits(slots=1))
    for _ in range(2):
        offer(bench, budget=50)
    seen = []
    for _ in range(40):
        bench.loop.tick()
        bench.now += 0.1
        seen.append(bench.loop.queue)
    assert 4 <= len({id(state) for state in seen}) <= 6


def test_a_tenant_is_charged_for_what_its_replies_have_cost(chain: Chain) -> None:
    """Both are taken for alike, but the replies of one are four times as long."""
    bench = chain(ENDLESS, admission=AdmissionLimits(slots=1))
    heard = {}
    for budget, tenant in ((40, "wordy"), (6, "brief")):
        heard[tenant] = [offer(bench, claim=Claim(tenant=tenant), budget=budget)[1] for _ in range(12)]
    while not all(client.outcomes for client in heard["brief"]):
        bench.tick()
    tokens = {
        tenant: sum(client.outcome.completion_tokens for client in clients if client.outcomes)
        for tenant, clients in heard.items()
    }
    assert 0.5 < tokens["wordy"] / tokens["brief"] < 2.0
