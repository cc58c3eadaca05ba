"""The loop serves by the order, and running thoughts pause for waiting requests that go before them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.admission import AdmissionLimits
from controller.serving.fair_queue import Claim
from controller.serving.ordering.order import Order, OrderError
from controller.serving.ordering.remaining import RowForecast
from controller.serving.ordering.turns import ServingOrder
from controller.serving.request import ExitReason, ReasoningRequest
from engine.base import SequenceId, UnsupportedError
from tests.support.engines import needs_llama
from tests.support.serving_bench import ENDLESS, Bench, Heard

Chain = Callable[..., Bench]


def forecast(mean: float) -> RowForecast:
    """All requests are alike, but for what their prompts let expect."""
    table = (((mean,),), ((mean,),))
    zero = (((0.0,),), ((0.0,),))
    return RowForecast(
        classes=("easy",),
        thresholds=(None,),
        budgets=(None,),
        curves=(None,),
        mean=(table,),
        spread=zero,
        usual_rows=mean,
        answer_rows=1.0,
    )


def bench(chain: Chain, *, head_start_s: float, pauses: bool = False, **options: Any) -> Bench:
    order = ServingOrder(
        order=Order(head_start_s=head_start_s, usual_rows=40.0), forecast=forecast(40.0), pauses=pauses
    )
    return chain(ENDLESS, order=order, **{"max_batch": 1, "admission": AdmissionLimits(slots=1), **options})


def asked(bench: Bench, rows: int, **claim: Any) -> Heard:
    """A request whose thought is cut after so many tokens, as its prompt lets expect."""
    return bench.queue(max_tokens=120, budget=rows, claim=Claim(length=float(rows), **claim))[1]


def ends(bench: Bench, heard: dict[str, Heard]) -> list[str]:
    """The names of the requests as they end."""
    order: list[str] = []
    while bench.loop.busy:
        bench.tick()
        order += [name for name, one in heard.items() if one.outcomes and name not in order]
    return order


@pytest.mark.parametrize(
    ("head_start", "expected"),
    [(0.0, ["first", "long", "short", "late"]), (20.0, ["first", "short", "long", "late"]),
     (math.inf, ["first", "late", "short", "long"])],
)  # fmt: skip
def test_a_short_request_overtakes_as_far_as_its_head_start_reaches(
    chain: Chain, head_start: float, expected: list[str]
) -> None:
    one = bench(chain, head_start_s=head_start)
    heard = {"first": asked(one, 60)}
    one.tick()
    heard["long"] = asked(one, 60)
    one.tick()
    heard["short"] = asked(one, 10)
    one.tick(30)
    heard["late"] = asked(one, 9)
    assert ends(one, heard) == expected


@pytest.mark.parametrize("pauses", [False, True])
def test_a_running_thought_pauses_for_a_shorter_one_and_then_goes_on(chain: Chain, pauses: bool) -> None:
    one = bench(chain, head_start_s=math.inf, pauses=pauses)
    heard = {"long": asked(one, 60)}
    one.tick(5)
    heard["short"] = asked(one, 10)
    assert ends(one, heard) == (["short", "long"] if pauses else ["long", "short"])
    assert all(each.outcome.thought.exit_reason is ExitReason.BUDGET for each in heard.values())
    assert heard["long"].outcome.thought.tokens == 60
    alone = bench(chain, head_start_s=0.0)
    assert asked_alone(alone, 60).reasoning == heard["long"].reasoning


def test_a_request_that_makes_the_engine_fail_at_its_coming_is_refused_and_not_kept(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench(chain, head_start_s=math.inf, pauses=True)
    long = asked(one, 60)
    one.tick(5)

    def stuck(sequence: SequenceId) -> None:
        raise RuntimeError("it goes on")

    short = Heard()
    prompt = one.thinking.prompt(tuple(one.tokenizer.encode("?")), thinking=True)
    request = ReasoningRequest(prompt=prompt, max_tokens=120, budget=10, claim=Claim(length=10.0))
    with monkeypatch.context() as patched:
        patched.setattr(one.engine, "pause", stuck)
        with pytest.raises(RuntimeError, match="it goes on"):
            one.loop.submit(request, short)
    one.run()
    assert long.outcome.thought.tokens == 60
    assert (short.deltas, short.outcomes) == ([], [])


def asked_alone(bench: Bench, rows: int) -> Heard:
    heard = asked(bench, rows)
    bench.run()
    return heard


def test_a_thought_that_is_nearly_done_does_not_pause(chain: Chain) -> None:
    one = bench(chain, head_start_s=math.inf, pauses=True)
    heard = {"long": asked(one, 60)}
    one.tick(55)
    heard["short"] = asked(one, 10)
    assert ends(one, heard) == ["long", "short"]


def test_a_paused_thought_is_not_overtaken_beyond_the_head_start(chain: Chain) -> None:
    """Short ones come without end; the long one still ends, by the bound."""
    one = bench(chain, head_start_s=40.0, pauses=True)
    long = asked(one, 60)
    one.tick(5)
    later = [asked(one, 10)]
    while not long.outcomes:
        one.tick(9)
        later.append(asked(one, 10))
        assert one.now < 400.0, "the long one starves"
    came_in_time = 40.0 / 9.0 + 2  # requests that came within the head start, one every 9 s
    assert sum(bool(each.outcomes) for each in later) <= came_in_time
    one.run()


def test_nobody_pauses_for_another_key_or_for_a_less_urgent_request(chain: Chain) -> None:
    for claim in ({"tenant": "other"}, {"priority": 1}):
        one = bench(chain, head_start_s=math.inf, pauses=True)
        heard = {"long": asked(one, 60)}
        one.tick(5)
        heard["short"] = asked(one, 10, **claim)
        assert ends(one, heard) == ["long", "short"]


def test_a_paused_request_can_be_told_to_end_its_thought_and_can_be_cancelled(chain: Chain) -> None:
    one = bench(chain, head_start_s=math.inf, pauses=True)
    (told, ended), (left, _) = (one.queue(max_tokens=120, budget=60, claim=Claim(length=60.0)) for _ in range(2))
    one.tick(5)
    short = asked(one, 30)
    one.tick(3)
    assert one.engine.load().paused == 1
    assert one.loop.end_thought(told)
    one.loop.cancel(left)
    one.run()
    assert ended.outcome.thought.exit_reason is ExitReason.REQUESTED
    assert short.outcome.thought.exit_reason is ExitReason.BUDGET


def test_requests_with_a_deadline_do_not_pause(chain: Chain) -> None:
    one = bench(chain, head_start_s=math.inf, pauses=True)
    heard = {"long": one.queue(max_tokens=120, budget=60, deadline_s=1e6, claim=Claim(length=60.0))[1]}
    one.tick(5)
    heard["short"] = asked(one, 10)
    assert ends(one, heard) == ["long", "short"]


def test_nobody_pauses_for_a_request_that_memory_has_no_room_for(chain: Chain) -> None:
    one = bench(chain, head_start_s=math.inf, pauses=True, cells=200)
    heard = {"long": asked(one, 60)}
    one.tick(5)
    heard["short"] = asked(one, 10)
    assert ends(one, heard) == ["long", "short"]


def test_an_engine_that_cannot_pause_is_refused_by_name(chain: Chain) -> None:
    from tests.support.parrot_engine import ParrotEngine, ParrotOptions

    engine = ParrotEngine(tuple(range(5, 60)), 432, ParrotOptions(cells=4096, max_batch=1))
    with pytest.raises(UnsupportedError, match="pauses is true, but thoughts cannot pause: the parrot engine"):
        bench(chain, head_start_s=math.inf, pauses=True, engine=engine)


def test_a_key_whose_thoughts_pause_is_charged_what_they_cost(chain: Chain) -> None:
    """Replies were short of late, so little is charged at first; far more is foretold to be left of the long one."""
    one = bench(chain, head_start_s=math.inf, pauses=True)
    heard = [asked(one, 3)]
    one.run()
    for rows in (60, 30):
        heard.append(asked(one, rows))
        one.tick(5)
    assert one.engine.load().paused == 1
    one.run()
    cost = sum(each.outcome.prompt_tokens + each.outcome.rows for each in heard)
    assert one.loop._admission.start(Claim()) == pytest.approx(cost)


@pytest.mark.parametrize(("places", "most", "rows"), [(1, 1, (60, 40, 20)), (2, 1, (60, 50, 40, 30, 20))])
def test_no_more_pause_than_the_engine_can_keep(
    chain: Chain, random_model: Path, tmp_path: Path, places: int, most: int, rows: tuple[int, ...]
) -> None:
    """Each newcomer would go before all that run; llama.cpp holds no more sequences than it was opened for."""
    needs_llama()
    from engine.gguf.convert import StoredType, convert
    from engine.llamacpp.config import FlashAttention, KVType, LlamaConfig
    from engine.llamacpp.engine import LlamaEngine
    from engine.llamacpp.model import LlamaModel, LoadSettings

    for _ in convert(random_model, tmp_path / "random.gguf", StoredType.F32, tokenizer=False):
        pass
    config = LlamaConfig(
        cells=1024, max_batch=places, paused=most, kv_type=KVType.F32, flash_attention=FlashAttention.OFF
    )
    engine = LlamaEngine(LlamaModel(tmp_path / "random.gguf", LoadSettings(repack=False)), config)
    slots = AdmissionLimits(slots=places)
    one = bench(chain, head_start_s=math.inf, pauses=True, engine=engine, admission=slots)
    heard, paused = [], 0
    for length in rows:
        heard.append(asked(one, length))
        one.tick(3)
        paused = max(paused, one.engine.load().paused)
        assert one.engine.load().waiting == 0
    assert paused == most
    one.run()
    assert [each.outcome.thought.tokens for each in heard] == list(rows)


@pytest.mark.parametrize("claim", [{"tenant": "other"}, {"priority": -1}])
@pytest.mark.parametrize("pauses", [False, True])
def test_paused_thoughts_do_not_hold_up_another_key_or_a_more_urgent_request(
    chain: Chain, claim: dict[str, Any], pauses: bool
) -> None:
    """A key's own ever shorter requests pause one another; who comes then waits no longer than without pauses."""
    one = bench(chain, head_start_s=math.inf, pauses=pauses)
    for rows in range(60, 15, -5):
        asked(one, rows)
        one.tick()
    other = asked(one, 10, **claim)
    assert one.engine.load().paused == (8 if pauses else 0)
    while not other.outcomes:
        one.tick()
    assert other.outcome.queue_s <= 62.0  # of the first request alone, and no other's
    one.run()


def test_what_does_not_think_or_has_a_small_budget_of_its_own_is_short(chain: Chain) -> None:
    """Whatever its prompt lets expect of a full thought."""
    one = bench(chain, head_start_s=math.inf)
    asked(one, 60)
    one.tick()
    for name, own in {"long": {}, "small": {"budget": 5}, "none": {"thinking": False}}.items():
        one.queue(max_tokens=120, name=name, claim=Claim(length=60.0), **own)
    one.tick()
    assert [name for name, _ in one.loop.queue.turns] == ["none", "small", "long"]


@pytest.mark.parametrize(
    ("ease", "own", "first"), [(0.95, {}, "likely"), (0.8, {}, "other"), (0.95, {"budget": 60}, "other")]
)
def test_a_prompt_that_is_answered_at_once_is_short(chain: Chain, ease: float, own: dict[str, int], first: str) -> None:
    """If the policy says so, and the request leaves it to the policy."""
    policy = FixedPolicy(Limits(skip=0.9))
    one = bench(chain, head_start_s=math.inf, policy=policy)
    asked(one, 60)
    one.tick()
    one.queue(max_tokens=120, name="other", budget=30, claim=Claim(length=30.0))
    _, likely = one.queue(max_tokens=120, name="likely", ease=ease, claim=Claim(length=60.0), **own)
    one.tick()
    assert next(name for name, _ in one.loop.queue.turns) == first
    one.run()
    assert (likely.outcome.thought.exit_reason == ExitReason.SKIPPED) == (first == "likely")


def test_of_a_thought_no_more_is_foretold_than_its_max_tokens_leave(chain: Chain) -> None:
    """Far more is forecast, but 35 of its 120 tokens are left: it does not pause for a request of 40."""
    told = replace(forecast(200.0), answer_rows=60.0)
    order = ServingOrder(order=Order(head_start_s=math.inf, usual_rows=40.0), forecast=told, pauses=True)
    one = chain(ENDLESS, order=order, max_batch=1, admission=AdmissionLimits(slots=1))
    one.queue(max_tokens=120)
    one.tick(85)
    one.queue(max_tokens=40)
    one.tick()
    assert one.engine.load().paused == 0
    one.run()


def test_a_paused_thought_is_told_as_paused_and_not_as_waiting(chain: Chain) -> None:
    one = bench(chain, head_start_s=math.inf, pauses=True)
    for rows in (60, 20):
        asked(one, rows)
        one.tick(5)
    told = one.loop.status()
    assert (told.load.running, told.load.waiting, told.load.paused) == (1, 0, 1)
    asked(one, 50)
    one.tick()
    assert (one.loop.status().load.waiting, one.loop.queue.waiting) == (1, 1)
    one.run()


def test_steps_in_which_a_thought_was_paused_are_none_of_its_own(chain: Chain) -> None:
    one = bench(chain, head_start_s=math.inf, pauses=True)
    for rows in (60, 20):
        asked(one, rows)
        one.tick(5)
    while one.engine.load().paused:
        one.tick()
    assert max(one.loop._in_engine.ages(one.loop._steps)[0]) <= 7


def test_a_full_batch_stays_full_while_thoughts_pause(chain: Chain) -> None:
    one = bench(chain, head_start_s=math.inf, pauses=True, max_batch=2, admission=AdmissionLimits(slots=2))
    for rows in (50, 40, 10, 20, 5, 30):
        asked(one, rows)
        one.tick(2)
    paused = 0
    while one.loop.queue.waiting or one.engine.load().paused:
        paused = max(paused, one.engine.load().paused)
        had = decoded(one)
        one.tick()
        assert decoded(one) >= had + 2
    assert paused
    one.run()


def decoded(bench: Bench) -> int:
    """The tokens of all sequences so far."""
    return sum(len(account.tokens) for account in bench.engine.ledger.accounts.values())


def test_an_order_needs_to_know_of_rows() -> None:
    with pytest.raises(OrderError, match="need a forecast"):
        ServingOrder(order=Order(head_start_s=1.0))
    with pytest.raises(OrderError, match="need a forecast"):
        ServingOrder.of(None, head_start_s=5.0)
    assert ServingOrder.of(None, head_start_s=0.0) == ServingOrder()
