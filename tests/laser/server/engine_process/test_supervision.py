"""When the engine's process is started again, and what becomes of the requests that it leaves."""

from __future__ import annotations

import pytest

from controller.serving.request import ReasoningRequest
from controller.serving.status import LoopStatus
from engine.base import EngineLoad
from laser.server.engine_process.messages import Submit
from laser.server.engine_process.supervision import (
    DELAYS_S,
    LOAD_S,
    SOUND_S,
    Counts,
    Fate,
    Ledger,
    Restarts,
    Silence,
)


def submit(number: int, deadline_s: float | None = None) -> Submit:
    request = ReasoningRequest(prompt=(number,), max_tokens=8, deadline_s=deadline_s)
    return Submit(number=number, request=request, probes=False)


def test_processes_that_come_to_nothing_are_started_later_and_later_and_then_no_more() -> None:
    restarts = Restarts()
    assert [restarts.ended(1000.0 * n) for n in range(len(DELAYS_S) + 1)] == [*DELAYS_S, None]
    assert restarts.count == len(DELAYS_S)


@pytest.mark.parametrize("useful", [True, False])
def test_a_process_that_has_come_to_something_is_started_again_at_once(useful: bool) -> None:
    """By decoding something, or by serving for a while though nobody has asked."""
    restarts, now = Restarts(), 0.0
    for _ in range(3 * len(DELAYS_S)):
        restarts.began(now)
        if useful:
            restarts.useful()
            now += 1.0
        else:
            now += SOUND_S
        assert restarts.ended(now) == 0.0


def test_three_ends_within_a_minute_count_as_failing_until_the_minute_is_over() -> None:
    restarts = Restarts()
    for now in (0.0, 30.0):
        restarts.ended(now)
        assert not restarts.failing(now)
    restarts.ended(59.0)
    assert restarts.failing(59.0)
    assert restarts.failing(60.0)
    assert not restarts.failing(61.0)


def test_a_process_may_load_without_a_word_as_long_as_a_start_has_taken_before_and_longer() -> None:
    silence = Silence(stall_s=60.0, limit_s=180.0)
    assert silence.loading(LOAD_S) is None
    assert silence.loading(LOAD_S + 0.1) == f"the engine's process has loaded nothing for more than {LOAD_S:g} s"
    for took_s in (700.0, 20.0):
        silence.loaded(took_s)
    assert silence.loading(2100.0) is None
    assert silence.loading(2100.1) == "the engine's process has loaded nothing for more than 2100 s"


def test_a_request_that_has_got_nothing_is_sent_again_in_the_order_of_its_coming() -> None:
    ledger = Ledger()
    for number in (1, 2, 3, 4):
        ledger.enter(submit(number), now=float(number))
    ledger.began(1)
    ledger.spoke(1)  # its client has a part of the reply
    ledger.began(2)
    ledger.over(4)
    assert [ledger.fate(number) for number in (1, 2, 3)] == [Fate.LOST, Fate.AGAIN, Fate.AGAIN]
    assert [command.number for command in ledger.again(10.0)] == [2, 3]


def test_a_request_that_ran_in_two_processes_that_ended_is_not_sent_to_a_third_but_one_that_only_waited_is() -> None:
    ledger = Ledger()
    for number in (1, 2):
        ledger.enter(submit(number), now=0.0)
    for last in (Fate.AGAIN, Fate.GUILTY):
        ledger.began(1)
        assert ledger.fate(1) is last
        assert ledger.fate(2) is Fate.AGAIN


def test_a_request_over_whose_grammar_two_processes_ended_is_not_sent_to_a_third() -> None:
    """It has begun in none of them."""
    ledger = Ledger()
    for number in (1, 2, 3):
        ledger.enter(submit(number), now=0.0)
    for last in (Fate.AGAIN, Fate.GUILTY):
        ledger.handled(1, over=False)
        ledger.handled(2, over=False)
        ledger.handled(2, over=True)
        ledger.handled(3, over=False)
        ledger.began(3)
        ledger.handled(3, over=True)  # that it has begun is another matter
        assert [ledger.fate(number) for number in (1, 2, 3)] == [last, Fate.AGAIN, last]
    ledger.handled(9, over=False)


def test_waiting_for_a_process_in_vain_does_not_make_a_request_guilty() -> None:
    ledger = Ledger()
    ledger.enter(submit(1), now=0.0)
    ledger.began(1)
    assert [ledger.fate(1) for _ in range(3)] == [Fate.AGAIN] * 3


def test_time_goes_on_for_a_request_that_is_sent_again() -> None:
    ledger = Ledger()
    ledger.enter(submit(1, deadline_s=5.0), now=100.0)
    ledger.enter(submit(2, deadline_s=1.0), now=100.0)
    for now in (102.0, 103.0):  # the loop counts its times, and its deadline, from when it came
        again = {command.number: command.request for command in ledger.again(now)}
        assert [again[number].waited_s for number in (1, 2)] == [now - 100.0] * 2
        assert [again[number].deadline_s for number in (1, 2)] == [5.0, 1.0]
    assert ledger.expired(100.5) == []
    ((number, late),) = ledger.expired(104.0)
    assert (number, late.expired, late.queue_s, late.total_s) == (2, True, 4.0, 4.0)


def status(arrived: int, finished: int = 0, turned_away: int = 0) -> LoopStatus:
    return LoopStatus(
        at_s=0.0, load=EngineLoad(running=0, waiting=0, probing=0, cells_reserved=0, cells_total=1), drain_s=0.0,
        turned_away=turned_away, arrived=arrived, finished=finished, replies=2 * finished, running=(), ended=(),
    )  # fmt: skip


def test_counts_go_on_over_processes() -> None:
    counts = Counts()
    counts.looked(status(7, 5, 2))
    counts.ended(turned_away=2)
    seen = counts.looked(status(7, 5, 2))
    assert (seen.arrived, seen.finished, seen.replies, seen.turned_away) == (14, 10, 20, 4)


def test_what_comes_to_several_processes_has_come_once_and_no_count_falls() -> None:
    """Two of them end before anybody has looked at them: one at once, one when all that waited has come to it."""
    counts, told = Counts(), []
    for number in range(1, 6):
        counts.came(number)
    told.append(counts.looked(status(5)).arrived)
    counts.came(6)  # since the last look
    for came in (0, 3):
        counts.ended(turned_away=0)
        counts.sent_again((4, 5, 6))
        for number in range(4, 4 + came):
            counts.came(number)
    counts.ended(turned_away=0)
    counts.sent_again((4, 5, 6))
    told.append(counts.looked(status(0)).arrived)
    for loop_s, number in enumerate((4, 5, 6, 7), start=1):
        counts.came(number)
        told.append(counts.looked(status(loop_s)).arrived)
    assert told == [5, 6, 6, 6, 6, 7]
