"""How long a request takes, and how long until one that waits has room: as told from what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from controller.serving.pace import Pace
from tests.support.paces import steady


def test_a_machine_that_slows_down_is_known_before_anything_has_ended() -> None:
    pace = steady(4.0)
    for _ in range(40):
        pace.stepped(5.0)
    assert pace.room_s([0, 0]) == pytest.approx((40.0 / 2, 40.0 / 2), rel=0.02)


def test_what_runs_for_longer_than_any_before_is_told_from_its_age() -> None:
    pace = steady(2.0)
    pace.began(1000)
    assert pace.request_steps([100, 100]) == 100.0
    first_s, each_s = pace.room_s([100, 100])
    assert first_s == each_s == 100 * 0.5 / 2  # as long again


def test_before_any_has_ended_a_request_is_taken_for_half_of_what_it_may_have() -> None:
    pace = Pace()
    assert pace.room_s([])[0] > 1.0
    pace.began(200)
    pace.stepped(0.1)
    assert pace.request_steps([0] * 4) == 100.0
    assert pace.room_s([0] * 4)[1] == pytest.approx(100 * 0.1 / 4)
    pace = Pace()
    pace.began(100_000)
    assert pace.request_steps([0]) == 512.0
    assert Pace().request_steps([2000]) == 2000.0


def test_where_one_runs_what_is_left_of_it_is_the_wait() -> None:
    pace = steady(50.0)  # 100 steps
    assert pace.room_s([90]) == pytest.approx((10 * 0.5, 50.0))
    assert pace.room_s([0]) == pytest.approx((50.0, 50.0))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slots", [4, 32])
def test_that_the_first_to_end_are_the_shortest_does_not_mislead(seed: int, slots: int) -> None:
    """All begin at once, and whoever ends makes room for the next; replies are of 100 to 700 steps."""
    rng = np.random.default_rng(seed)
    lengths = iter(rng.integers(100, 700, size=400).tolist())
    pace, began, told = Pace(), {}, []
    ends: list[tuple[int, int]] = []  # (step, number)
    for number in range(slots):
        pace.began(1000)
        began[number] = 0
        ends.append((next(lengths), number))
    for number in range(slots, 10 * slots):
        ends.sort()
        now, ended = ends.pop(0)
        pace.finished(steps=now - began.pop(ended), rows=1, answer_tokens=1)
        began[number] = now
        ends.append((now + next(lengths), number))
        told.append(pace.request_steps([now - at for at in began.values()]))
    assert min(told) > 400 / 2.5  # the first to end has taken a quarter of the mean
    assert max(told) < 400 * 2
    assert np.median(told[4 * slots :]) == pytest.approx(400, rel=0.25)


def test_a_pace_follows_what_was_measured_last() -> None:
    pace = steady(1.0)
    for _ in range(100):
        pace.stepped(0.02)
        pace.finished(steps=250, rows=300, answer_tokens=20)
    assert pace.room_s([0])[0] == pytest.approx(250 * 0.02, rel=1e-2)
    assert pace.answer_s(most_tokens=256) == pytest.approx(21 * 0.02, rel=1e-2)
    assert pace.answer_s(most_tokens=4) == pytest.approx(5 * 0.02, rel=1e-2)
    assert Pace().answer_s(most_tokens=256) == 0.0
