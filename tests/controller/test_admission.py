"""Who enters, who waits for how long, and who is told to come back later."""

from __future__ import annotations

import pytest

from controller.admission import Admission, AdmissionLimits, Overloaded, QueueState
from controller.fair_queue import Claim
from controller.pace import Pace


def admission(pace: Pace | None = None, **limits: float) -> Admission[str]:
    return Admission(AdmissionLimits(**limits), pace or Pace())  # type: ignore[arg-type]


def steady(service_s: float) -> Pace:
    pace = Pace()
    pace.stepped(0.5)
    pace.finished(steps=round(2 * service_s), rows=100, answer_tokens=10)
    return pace


def test_the_engine_gets_no_more_than_its_slots() -> None:
    queue = admission(slots=2)
    for item in "abc":
        queue.push(item, Claim())
    assert [queue.next(0), queue.next(1), queue.next(2)] == ["a", "b", None]
    assert queue.next(1) == "c"


def test_without_slots_everything_goes_to_the_engine_at_once() -> None:
    queue = admission()
    queue.check([1.0] * 1000)
    queue.push("a", Claim())
    assert queue.next(1000) == "a"


def test_a_full_queue_turns_away_and_says_when_to_come_back() -> None:
    queue = admission(steady(4.0), slots=2, max_waiting=3)
    for item in "abc":
        queue.check([0.0, 0.0])
        queue.push(item, Claim())
    with pytest.raises(Overloaded, match="3 requests wait already, may be at most 3") as refusal:
        queue.check([0.0, 0.0])
    assert refusal.value.retry_after_s == pytest.approx(4 * 4.0 / 2)  # four leave at 2 per 4 s
    assert queue.state([0.0, 0.0], str).turned_away == 1


def test_nobody_is_turned_away_while_the_engine_has_room() -> None:
    admission(steady(1e6), slots=2, max_waiting=0, max_wait_s=0.1).check([0.0], patience_s=0.1)


@pytest.mark.parametrize(("patience", "told"), [(None, "may be at most 3 s"), (1.0, "the request allows 1 s")])
def test_a_wait_beyond_what_is_borne_is_refused_at_once(patience: float | None, told: str) -> None:
    limit = {} if patience is not None else {"max_wait_s": 3.0}
    queue = admission(steady(8.0), slots=2, **limit)
    with pytest.raises(Overloaded, match=f"about 4.0 s, {told}"):
        queue.check([0.0, 0.0], patience)


def test_places_and_times_are_told_in_order() -> None:
    queue = admission(steady(6.0), slots=3)
    for item in ("x", "y"):
        queue.push(item, Claim())
    state = queue.state([0.0, 0.0, 0.0], str)
    assert [(name, turn.position, turn.eta_s) for name, turn in state.turns] == [("x", 1, 2.0), ("y", 2, 4.0)]
    assert (state.waiting, state.running, state.drain_s) == (2, 3, 4.0)
    turn = state.turn("y")
    assert turn is not None
    assert turn.position == 2
    assert state.turn("z") is None
    assert QueueState().waiting == 0


def test_a_machine_that_slows_down_is_known_before_anything_has_ended() -> None:
    pace = steady(4.0)
    for _ in range(40):
        pace.stepped(5.0)
    assert pace.wait_s(3, running=2, mean_age_s=0.0) == pytest.approx(3 * 40.0 / 2, rel=0.02)


def test_what_runs_tells_of_slowness_before_anything_has_ended() -> None:
    assert Pace().wait_s(3, running=2, mean_age_s=10.0) == 15.0
    assert steady(1.0).wait_s(3, running=2, mean_age_s=10.0) == 15.0
    assert steady(30.0).wait_s(1, running=2, mean_age_s=10.0) == 15.0


def test_a_pace_follows_what_was_measured_last() -> None:
    pace = steady(1.0)
    for _ in range(100):
        pace.stepped(0.02)
        pace.finished(steps=250, rows=300, answer_tokens=20)
    assert pace.wait_s(1, running=1, mean_age_s=0.0) == pytest.approx(250 * 0.02, rel=1e-2)
    assert pace.answer_s(most_tokens=256) == pytest.approx(21 * 0.02, rel=1e-2)
    assert pace.answer_s(most_tokens=4) == pytest.approx(5 * 0.02, rel=1e-2)
    assert Pace().answer_s(most_tokens=256) == 0.0


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
