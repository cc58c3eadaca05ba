"""Turns are shared by weight between tenants, by priority within one, and nobody waits for ever."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.serving.fair_queue import Claim, FairQueue

claims = st.builds(
    Claim,
    tenant=st.sampled_from("abc"),
    weight=st.sampled_from([0.5, 1.0, 4.0]),
    priority=st.integers(0, 2),
    cost=st.sampled_from([1.0, 10.0, 1000.0]),
)


def taken(queue: FairQueue[str], count: int) -> list[str]:
    return [queue.pop() for _ in range(count)]


def test_one_tenant_is_served_in_order_of_priority_then_arrival() -> None:
    queue: FairQueue[str] = FairQueue()
    for item, priority in (("a", 1), ("b", 2), ("c", 1), ("d", 0)):
        queue.push(item, Claim(priority=priority))
    assert taken(queue, 4) == ["d", "a", "c", "b"]


def test_of_equally_urgent_requests_the_one_with_the_smallest_place_is_first() -> None:
    queue: FairQueue[str] = FairQueue()
    for item, priority, place in (("a", 1, 30.0), ("b", 1, 5.0), ("c", 0, 90.0), ("d", 1, 5.0)):
        queue.push(item, Claim(priority=priority, place=place))
    assert taken(queue, 4) == ["c", "b", "d", "a"]


def test_a_tenant_with_one_request_does_not_wait_behind_anothers_hundred() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(100):
        queue.push("greedy", Claim(tenant="greedy"))
    taken(queue, 10)
    queue.push("modest", Claim(tenant="modest"))
    assert "modest" in taken(queue, 2)


def test_calling_everything_urgent_gains_nothing_on_others() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(20):
        queue.push("urgent", Claim(tenant="urgent", priority=0))
        queue.push("patient", Claim(tenant="patient", priority=2))
    assert Counter(taken(queue, 20)) == {"urgent": 10, "patient": 10}


@pytest.mark.parametrize(("weights", "costs"), [((3.0, 1.0), (1.0, 1.0)), ((1.0, 1.0), (10.0, 30.0))])
def test_tenants_get_tokens_by_weight(weights: tuple[float, float], costs: tuple[float, float]) -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(200):
        for name, weight, cost in zip("ab", weights, costs, strict=True):
            queue.push(name, Claim(tenant=name, weight=weight, cost=cost))
    served = Counter(taken(queue, 100))
    tokens = [served[name] * cost for name, cost in zip("ab", costs, strict=True)]
    assert tokens[0] / tokens[1] == pytest.approx(weights[0] / weights[1], rel=0.1)


def test_a_tenant_that_was_away_has_saved_nothing_up() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(60):
        queue.push("here", Claim(tenant="here"))
    taken(queue, 30)
    for _ in range(30):
        queue.push("back", Claim(tenant="back"))
    assert Counter(taken(queue, 20))["here"] >= 9


def test_who_leaves_is_not_charged() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "b1"):
        queue.push(item, Claim(tenant=item[0], cost=100.0))
    assert queue.remove(lambda item: item == "a1") == ["a1"]
    assert taken(queue, 2) == ["a2", "b1"]
    with pytest.raises(IndexError, match="nobody waits"):
        queue.pop()


@given(st.lists(claims, max_size=30), st.integers(0, 10))
def test_the_order_told_is_the_order_that_comes(wanted: list[Claim], before: int) -> None:
    queue: FairQueue[int] = FairQueue()
    for number, claim in enumerate(wanted):
        queue.push(number, claim)
    for _ in range(min(before, len(queue))):
        queue.pop()
    told = queue.order()
    assert [queue.pop() for _ in range(len(queue))] == told
    assert len(told) == max(0, len(wanted) - before)


def test_tenants_are_charged_what_their_requests_have_cost() -> None:
    """One's replies are thrice as long as was predicted; it gets no more tokens for it."""
    queue: FairQueue[str] = FairQueue()
    actual, tokens = {"wordy": 300.0, "brief": 100.0}, Counter[str]()
    claims = {name: Claim(tenant=name, cost=100.0) for name in actual}
    for _ in range(200):
        for name, claim in claims.items():
            queue.push(name, claim)
    for _ in range(160):
        name = queue.pop()
        queue.settle(claims[name], actual[name])
        tokens[name] += int(actual[name])
    assert tokens["wordy"] == pytest.approx(tokens["brief"], rel=0.05)


def test_what_was_charged_for_nothing_is_given_back() -> None:
    queue: FairQueue[str] = FairQueue()
    claim = Claim(tenant="a", cost=1000.0)
    queue.push("a1", claim)
    assert queue.pop() == "a1"
    for item in ("b1", "b2"):
        queue.push(item, Claim(tenant="b", cost=10.0))
    queue.push("a2", claim)
    assert queue.order() == ["b1", "b2", "a2"]
    queue.settle(claim, 0.0)
    assert queue.order() == ["b1", "a2", "b2"]


def test_a_debt_is_remembered_while_its_tenant_waits_for_nothing() -> None:
    queue: FairQueue[str] = FairQueue()
    claim = Claim(tenant="a", cost=1.0)
    queue.push("a1", claim)
    queue.pop()
    for item in ("b1", "b2", "b3"):
        queue.push(item, Claim(tenant="b", cost=10.0))
    queue.pop()
    queue.settle(claim, 500.0)
    queue.push("a2", claim)
    assert queue.order() == ["b2", "b3", "a2"]


def test_whoever_waits_for_nothing_and_owes_nothing_is_forgotten() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(100):
        claim = Claim(tenant=str(number))
        queue.push(number, claim)
        queue.pop()
        queue.settle(claim, 0.0)
    assert len(queue._tenants) <= 1


@given(st.lists(claims, max_size=30), st.integers(0, 10), claims)
def test_a_newcomers_place_is_told_before_it_comes(wanted: list[Claim], before: int, newcomer: Claim) -> None:
    queue: FairQueue[int] = FairQueue()
    for number, claim in enumerate(wanted):
        queue.push(number, claim)
    for _ in range(min(before, len(queue))):
        queue.pop()
    told = queue.ahead(newcomer)
    queue.push(-1, newcomer)
    assert queue.order().index(-1) == told


def test_a_newcomer_of_a_modest_tenant_has_the_last_of_a_greedy_one_give_way() -> None:
    queue: FairQueue[str] = FairQueue()
    for item, weight in (("a1", 1.0), ("a2", 1.0), ("b1", 4.0), ("b2", 4.0), ("b3", 4.0)):
        queue.push(item, Claim(tenant=item[0], weight=weight))
    assert queue.giving_way(Claim(tenant="c")) == "a2"
    assert queue.giving_way(Claim(tenant="b", weight=4.0)) == "a2"
    assert queue.giving_way(Claim(tenant="a")) is None
    assert queue.giving_way(Claim(tenant="a", priority=-1)) == "a2"  # its own, that is less urgent
    assert queue.giving_way(Claim(tenant="a", priority=1)) is None
    assert FairQueue[str]().giving_way(Claim()) is None


def test_a_long_queue_is_told_at_once() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(20_000):
        queue.push(number, Claim(tenant=str(number % 100)))
    began = time.perf_counter()
    assert len(queue.order()) == 20_000
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(("name", "value"), [("weight", 0.0), ("weight", float("inf")), ("cost", float("nan"))])
def test_a_claim_that_cannot_be_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}, must be finite and above 0"):
        Claim(**{name: value})


def test_a_tenant_gains_nothing_by_items_that_are_deferred() -> None:
    """What is left of a deferred item is charged when it goes on, once in all."""
    queue: FairQueue[str] = FairQueue()
    for number in range(2):
        queue.push(f"a{number}", Claim(tenant="a", cost=10.0))
    mine = Claim(tenant="a", cost=10.0)
    assert queue.pop() == "a0"
    assert queue.defer(mine, 8.0) == 8.0
    assert queue.pop() == "a1"
    queue.push("b", Claim(tenant="b", cost=10.0))
    assert queue.start(Claim(tenant="b")) < queue.start(mine)  # a has had 2 and 10
    assert queue.pop() == "b"
    queue.settle(mine, 10.0)
    queue.settle(Claim(tenant="b", cost=10.0), 10.0)
    before = queue.start(mine)
    queue.go_on(mine, 8.0)
    assert queue.start(mine) == before + 8.0
    queue.settle(mine, 10.0)
    assert queue.start(mine) == before + 8.0


def test_no_more_is_refunded_than_was_charged() -> None:
    """What is left was foretold far too long; what was charged again is what it cost."""
    queue: FairQueue[str] = FairQueue()
    mine = Claim(tenant="a", cost=100.0)
    queue.push("a", mine)
    queue.pop()
    refunded = queue.defer(mine, 5000.0)
    assert refunded == 100.0
    queue.go_on(mine, refunded)
    queue.settle(mine, 300.0)
    assert queue.start(mine) == 300.0


def test_what_was_waited_for_already_is_not_charged_again() -> None:
    """Of the charge of 100 the others' turns have passed 60: only 40 are left to be given back."""
    queue: FairQueue[str] = FairQueue()
    mine, short, others = (Claim(tenant=name, cost=cost) for name, cost in (("a", 100.0), ("a", 10.0), ("b", 60.0)))
    queue.push("a", mine)
    queue.pop()
    for _ in range(2):
        queue.push("b", others)
        queue.pop()
    refunded = queue.defer(mine, 90.0)
    assert refunded == 40.0
    queue.push("a short", short)
    queue.pop()
    queue.settle(short, 10.0)
    queue.go_on(mine, refunded)
    queue.settle(mine, 100.0)
    assert queue.start(mine) == 110.0


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 1000), st.integers(1, 2000)), max_size=40))
def test_a_tenant_is_charged_as_if_nothing_had_been_deferred(moves: list[tuple[bool, int, int]]) -> None:
    """In whatever order its items begin, are deferred, however much is foretold to be left, and go on."""
    queue: FairQueue[int] = FairQueue()
    deferred: list[tuple[Claim, float]] = []
    charged = 0
    for begins, cost, left in moves:
        if begins:
            claim = Claim(cost=cost)
            queue.push(0, claim)
            queue.pop()
            charged += cost
            deferred.append((claim, queue.defer(claim, left)))
        elif deferred:
            queue.go_on(*deferred.pop(0))
    for claim, refunded in deferred:
        queue.go_on(claim, refunded)
    assert queue.start(Claim()) == charged


def test_who_goes_on_before_its_turn_does_not_push_the_waiting_back() -> None:
    queue: FairQueue[str] = FairQueue()
    mine, long, theirs = (Claim(tenant=name, cost=cost) for name, cost in (("a", 10.0), ("a", 100.0), ("b", 1.0)))
    for name, claim in (("a", mine), ("a long", long)):
        queue.push(name, claim)
        queue.pop()
    refunded = queue.defer(mine, 5.0)
    queue.push("b", theirs)
    queue.go_on(mine, refunded)
    assert (queue.start(mine), queue.start(theirs)) == (110.0, 10.0)
