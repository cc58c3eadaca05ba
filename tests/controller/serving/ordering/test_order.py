"""One knob between first come and shortest first; nobody is overtaken by who came more than the head start later."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.serving.fair_queue import Claim, FairQueue
from controller.serving.ordering.order import Order

ROUNDING = 1e-6  # s; times below are at most some thousands
times = st.floats(0.0, 1_000.0)
rows = st.floats(0.0, 1e9)
head_starts = st.one_of(st.just(0.0), st.floats(0.0, 500.0))


@dataclass(frozen=True)
class Job:
    came_s: float
    predicted: float  # rows
    takes_s: float  # in truth


jobs = st.lists(st.builds(Job, came_s=times, predicted=rows, takes_s=st.floats(0.01, 50.0)), min_size=1, max_size=25)


def served(jobs: list[Job], order: Order) -> list[float]:
    """When each job begins on one server that finishes what it has begun, by the real queue."""
    queue: FairQueue[int] = FairQueue()
    coming = sorted(range(len(jobs)), key=lambda number: (jobs[number].came_s, number))
    begins, now = [math.nan] * len(jobs), 0.0
    while coming or len(queue):
        now = now if len(queue) else max(now, jobs[coming[0]].came_s)
        while coming and jobs[coming[0]].came_s <= now:
            job = jobs[number := coming.pop(0)]
            queue.push(number, Claim(place=order.place(job.came_s, job.predicted)))
        number = queue.pop()
        queue.settle(Claim(), 1.0)
        begins[number] = now
        now += jobs[number].takes_s
    return begins


@given(times, rows, times, rows, head_starts, st.floats(1.0, 1e4))
def test_who_goes_first_came_at_most_the_head_start_later(
    came: float, needs: float, later: float, others: float, head_start: float, usual: float
) -> None:
    order = Order(head_start_s=head_start, usual_rows=usual)
    if order.place(later, others) < order.place(came, needs):
        assert later <= came + head_start + ROUNDING


@given(jobs, head_starts)
def test_nobody_is_overtaken_by_one_that_came_more_than_the_head_start_later(
    jobs: list[Job], head_start: float
) -> None:
    begins = served(jobs, Order(head_start_s=head_start, usual_rows=200.0))
    for job, begin in zip(jobs, begins, strict=True):
        overtakers = [other.came_s for other, at in zip(jobs, begins, strict=True) if at < begin]
        assert max(overtakers, default=job.came_s) <= job.came_s + head_start + ROUNDING


@given(jobs, head_starts)
def test_the_wait_is_bounded_by_first_comes_and_the_work_of_the_head_start(jobs: list[Job], head_start: float) -> None:
    """However wrong the predictions are, and so nobody starves."""
    begins = served(jobs, Order(head_start_s=head_start, usual_rows=200.0))
    first_come = served(jobs, Order())
    for job, begin, fair in zip(jobs, begins, first_come, strict=True):
        behind = sum(
            other.takes_s
            for other in jobs
            if other is not job and job.came_s <= other.came_s <= job.came_s + head_start + ROUNDING
        )
        assert begin <= fair + behind + ROUNDING


@given(jobs)
def test_no_head_start_is_first_come_first_served(jobs: list[Job]) -> None:
    begins = served(jobs, Order())
    assert [begin for _, begin in sorted(zip([job.came_s for job in jobs], begins, strict=True))] == sorted(begins)


@given(st.lists(st.tuples(times, rows), min_size=2, max_size=20))
def test_an_infinite_head_start_is_shortest_first(requests: list[tuple[float, float]]) -> None:
    order = Order(head_start_s=math.inf, usual_rows=10.0)
    ranked = [(order.place(came, needs), needs) for came, needs in requests]
    heapq.heapify(ranked)
    assert [heapq.heappop(ranked)[1] for _ in requests] == sorted(needs for _, needs in requests)


def test_a_head_start_lets_the_shorter_go_first_as_far_as_it_reaches() -> None:
    order = Order(head_start_s=10.0, usual_rows=100.0)
    long, short = order.place(0.0, 300.0), [order.place(came, 25.0) for came in (8.0, 9.0)]
    assert short[0] < long < short[1]  # 10 · (.9 − .06) = 8.4 s


@pytest.mark.parametrize("head_start", [-1.0, math.nan])
def test_a_head_start_below_0_is_refused(head_start: float) -> None:
    with pytest.raises(ValueError, match=f"head_start_s is {head_start}, must be at least 0"):
        Order(head_start_s=head_start)
