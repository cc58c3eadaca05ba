"""Who enters, who waits for how long, and who is told to come back later."""

from __future__ import annotations

from collections import Counter

import pytest

from controller.serving.admission import Admission, AdmissionLimits, Overloaded, QueueState
from controller.serving.fair_queue import Claim
from controller.serving.pace import Pace
from tests.support.paces import steady


def admission(pace: Pace | None = None, **limits: float) -> Admission[str]:
    return Admission(AdmissionLimits(**limits), pace or Pace())  # type: ignore[arg-type]


def test_the_engine_gets_no_more_than_its_slots() -> None:
    queue = admission(slots=2)
    for item in "abc":
        queue.push(item, Claim())
    assert [queue.next(0), queue.next(1), queue.next(2)] == ["a", "b", None]
    assert queue.next(1) == "c"


def test_whoever_does_not_fit_holds_up_those_behind() -> None:
    queue = admission(slots=9)
    for item in ("big", "small"):
        queue.push(item, Claim())
    assert queue.next(0, lambda item: item == "small") is None
    assert queue.next(0, lambda item: True) == "big"


def test_without_limits_everything_goes_to_the_engine_at_once() -> None:
    queue = admission()
    assert queue.check(Claim(), [1] * 1000) is None
    queue.push("a", Claim())
    assert queue.next(1000) == "a"


def test_a_full_queue_turns_away_and_says_when_to_come_back() -> None:
    queue = admission(steady(4.0), slots=2, max_waiting=3)
    for item in "abc":
        assert queue.check(Claim(), [0, 0]) is None
        queue.push(item, Claim())
    with pytest.raises(Overloaded, match="3 requests wait already, may be at most 3") as refusal:
        queue.check(Claim(), [0, 0])
    assert refusal.value.retry_after_s == pytest.approx(4 * 4.0 / 2)  # four leave at 2 per 4 s
    assert queue.state([0, 0], str).turned_away == 1


def test_nobody_is_told_to_come_back_in_less_than_a_second() -> None:
    queue = admission(steady(0.5), slots=2, max_waiting=0)
    with pytest.raises(Overloaded) as refusal:
        queue.check(Claim(), [0, 0])
    assert refusal.value.retry_after_s == 1.0


def test_in_a_full_queue_a_tenants_last_gives_way_to_its_own_more_urgent_one() -> None:
    queue = admission(steady(4.0), slots=1, max_waiting=2)
    for number in range(2):
        queue.push(f"own{number}", Claim(tenant="own"))
    out = queue.check(Claim(tenant="own", priority=-1), [0])
    assert out is not None
    assert out[0] == "own1"
    assert "gives way to a more urgent one" in str(out[1])


def test_in_a_full_queue_the_last_of_whoever_has_the_most_gives_way() -> None:
    queue = admission(steady(4.0), slots=1, max_waiting=4)
    for number in range(4):
        queue.push(f"greedy{number}", Claim(tenant="greedy"))
    out = queue.check(Claim(tenant="modest"), [0])
    assert out is not None
    assert out[0] == "greedy3"
    assert "gives way to another key's" in str(out[1])
    assert out[1].retry_after_s == pytest.approx(4 * 4.0)
    queue.push("modest0", Claim(tenant="modest"))
    out = queue.check(Claim(tenant="modest"), [0])
    assert out is not None
    assert out[0] == "greedy2"
    queue.push("modest1", Claim(tenant="modest"))
    with pytest.raises(Overloaded):  # with as many as the other it would have more than the other
        queue.check(Claim(tenant="modest"), [0])
    with pytest.raises(Overloaded):
        queue.check(Claim(tenant="greedy"), [0])
    assert [queue.next(0) for _ in range(4)] == ["greedy0", "modest0", "greedy1", "modest1"]
    assert queue.state([], str).turned_away == 4


def test_places_in_a_full_queue_are_shared_by_weight() -> None:
    queue = admission(slots=1, max_waiting=8)
    for number in range(40):
        for name, weight in (("heavy", 3.0), ("light", 1.0)):
            claim = Claim(tenant=name, weight=weight)
            try:
                queue.check(claim, [0])
            except Overloaded:
                continue
            queue.push(f"{name}{number}", claim)
    names = Counter(name.rstrip("0123456789") for name, _ in queue.state([], str).turns)
    assert names == {"heavy": 6, "light": 2}


def test_the_wait_is_told_from_the_newcomers_own_place() -> None:
    queue = admission(steady(4.0), slots=1, max_wait_s=9.0)
    for number in range(10):
        queue.push(f"greedy{number}", Claim(tenant="greedy"))
    assert queue.check(Claim(tenant="modest"), [0]) is None  # the second in turn
    with pytest.raises(Overloaded, match="about 44"):
        queue.check(Claim(tenant="greedy"), [0])


def test_nobody_is_turned_away_while_the_engine_has_room() -> None:
    queue = admission(steady(1e6), slots=2, max_waiting=0, max_wait_s=0.1)
    assert queue.check(Claim(), [0], patience_s=0.1) is None
    with pytest.raises(Overloaded):
        queue.check(Claim(), [0], fits=False)
    with pytest.raises(Overloaded):
        queue.check(Claim(), [0], held_up=1)


@pytest.mark.parametrize(("patience", "told"), [(None, "may be at most 3 s"), (1.0, "the request allows 1 s")])
def test_a_wait_beyond_what_is_borne_is_refused_at_once(patience: float | None, told: str) -> None:
    limit = {} if patience is not None else {"max_wait_s": 3.0}
    queue = admission(steady(8.0), slots=2, **limit)
    with pytest.raises(Overloaded, match=f"about 4.0 s, {told}"):
        queue.check(Claim(), [0, 0], patience_s=patience)


def test_nobody_gives_way_for_one_that_would_not_wait_so_long() -> None:
    queue = admission(steady(8.0), slots=1, max_waiting=2, max_wait_s=3.0)
    for item in "ab":
        queue.push(item, Claim(tenant="greedy"))
    with pytest.raises(Overloaded, match="may be at most 3 s"):
        queue.check(Claim(tenant="modest"), [0])
    assert len(queue) == 2


def test_places_and_times_are_told_in_order() -> None:
    queue = admission(steady(6.0), slots=3)
    for item in ("x", "y"):
        queue.push(item, Claim())
    state = queue.state([0, 0, 0], str)
    assert [(name, turn.position, turn.eta_s) for name, turn in state.turns] == [("x", 1, 2.0), ("y", 2, 4.0)]
    assert (state.waiting, state.running, state.drain_s) == (2, 3, 4.0)
    turn = state.turn("y")
    assert turn is not None
    assert turn.position == 2
    assert state.turn("z") is None
    assert QueueState().waiting == 0


def test_those_held_up_in_the_engine_come_first() -> None:
    queue = admission(steady(6.0), slots=9)
    queue.push("y", Claim())
    state = queue.state([0, 0, 0], str, ["x"])
    assert [(name, turn.position, turn.eta_s) for name, turn in state.turns] == [("x", 1, 2.0), ("y", 2, 4.0)]
    assert state.running == 3


def test_paused_requests_of_the_same_tenant_come_first_unless_they_are_less_urgent() -> None:
    queue = admission(steady(6.0), slots=3, max_wait_s=5.0)
    for item in ("x", "other's"):
        queue.push(item, Claim(tenant=item))
    paused = [Claim(tenant="x"), Claim(tenant="x", priority=1)]
    state = queue.state([0, 0, 0], str, paused=paused)
    assert [(name, turn.position, turn.eta_s) for name, turn in state.turns] == [("x", 1, 4.0), ("other's", 2, 4.0)]
    assert queue.check(Claim(tenant="x", priority=-1), [0, 0, 0], paused=paused) is None
    with pytest.raises(Overloaded, match=r"the wait would be about 10\.0 s, may be at most 5 s"):
        queue.check(Claim(tenant="x", priority=1), [0, 0, 0], paused=paused)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"slots": 0}, "slots is 0, must be at least 1"),
        ({"max_waiting": -1}, "max_waiting is -1, must be at least 0"),
        ({"max_wait_s": 0.0}, r"max_wait_s is 0\.0, must be above 0"),
    ],
)
def test_limits_that_cannot_be_are_named(limits: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        admission(**limits)
