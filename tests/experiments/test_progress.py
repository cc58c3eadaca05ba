"""A measurement without a terminal writes lines: how much is done, of how many, and how long the rest takes."""

from __future__ import annotations

import threading

import pytest

from experiments.progress import ProgressLines, SoFar, lasting


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Lines:
    """What is written, and a wait for a line of it."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self._come = threading.Condition()

    def write(self, line: str) -> None:
        with self._come:
            self.written.append(line)
            self._come.notify_all()

    def wait_for(self, line: str) -> None:
        with self._come:
            assert self._come.wait_for(lambda: line in self.written, timeout=30.0), self.written


def test_a_line_tells_what_is_done_of_how_many_and_the_time_left() -> None:
    clock, lines = Clock(), Lines()
    told = ProgressLines(lines.write, every_s=0.01, clock=clock)
    with told.stage("Full thoughts ", 1_000, done=600, at_once=32) as advance:
        clock.now = 30.0
        advance(31)
        lines.wait_for("Full thoughts: 631 of 1,000 done, 30 s so far")  # of a full batch the quick ones
        clock.now = 60.0
        advance(69, "loss 0.5")
        lines.wait_for("Full thoughts: 700 of 1,000 done, about 3 min 0 s left, loss 0.5")
        advance(300)
    assert lines.written[-1] == "Full thoughts: 1,000 of 1,000 done, took 1 min 0 s"


@pytest.mark.parametrize(
    ("total", "done", "at_once", "new", "left"),
    [
        (1_000, 990, 1, 2, ""),
        (1_000, 990, 1, 5, "about 10 s left"),
        (40, 0, 32, 19, ""),
        (40, 0, 32, 20, "about 10 s left"),  # so few are left that half of them must do
        (10, 10, 32, 0, ""),
        (10, 0, 1, 10, ""),
    ],
)
def test_the_time_left_is_told_once_this_run_s_own_speed_is_known(
    total: int, done: int, at_once: int, new: int, left: str
) -> None:
    clock = Clock()
    so_far = SoFar(total, done=done, at_once=at_once, clock=clock)
    assert so_far.left == ""
    clock.now = 10.0
    so_far.advance(new)
    assert so_far.left == left


def test_a_stage_that_fails_has_no_last_line_and_leaves_no_thread() -> None:
    lines = Lines()
    with pytest.raises(OSError, match="full"), ProgressLines(lines.write).stage("Budgets", 3):
        raise OSError("the disk is full")
    assert lines.written == []
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_a_stage_without_pieces_says_so() -> None:
    lines = Lines()
    with ProgressLines(lines.write).stage("Budgets", 0) as advance:
        advance(0)
    assert lines.written == ["Budgets: nothing to do"]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (3600.0, "1 h 0 min"), (7500.0, "2 h 5 min")],
)
def test_times_have_two_units_at_most(seconds: float, told: str) -> None:
    assert lasting(seconds) == told
