"""A thought that repeats itself is told from one that only seems to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.serving.repetition import LoopDetection

DETECTION = LoopDetection(times=3, least=12, window=40, every=4)


def naive(thought: list[int], detection: LoopDetection) -> bool:
    """The same by definition: some end of the window is a block that stands there `times` times, or more."""
    end = thought[-detection.window :]
    return any(
        all(a == b for a, b in zip(end[-n:], end[-n + period :], strict=False))
        for n in range(detection.least, len(end) + 1)
        for period in range(1, n // detection.times + 1)
    )


@given(st.lists(st.integers(0, 1), max_size=60))
def test_it_finds_what_the_definition_finds(thought: list[int]) -> None:
    assert DETECTION.found(thought) == naive(thought, DETECTION)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=13), st.lists(st.integers(0, 50), max_size=20))
def test_a_block_said_often_enough_is_a_loop_whatever_came_before(block: list[int], before: list[int]) -> None:
    times = max(DETECTION.times, -(-DETECTION.least // len(block)))
    assert DETECTION.found(before + block * times)


def test_lists_that_differ_in_one_token_are_no_loop() -> None:
    step = [5, 6, 7, 8, 9, 10, 11]
    assert not DETECTION.found([*step, 1, *step, 2, *step, 3, *step, 4])


def test_a_few_repetitions_are_no_loop() -> None:
    assert not LoopDetection().found([7] * 191)
    assert LoopDetection().found([7] * 192)


def test_a_look_is_due_now_and_then() -> None:
    assert [n for n in range(30) if DETECTION.due(n)] == [12, 16, 20, 24, 28]


@pytest.mark.parametrize(("name", "value"), [("times", 1), ("least", 1), ("every", 0), ("window", 100)])
def test_settings_that_cannot_be_are_named(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}, must be at least"):
        LoopDetection(**{name: value})
