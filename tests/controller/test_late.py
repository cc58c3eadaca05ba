"""A controller that is made while requests are served: its safe point holds until it is there."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from controller.controller import Controller
from controller.late import LateController
from tests.support.driven_controller import CLASSES, PROFILE, Driven


def test_the_safe_point_holds_until_the_controller_is_made_and_then_the_controller_decides() -> None:
    made = Driven().controller
    works: list[Callable[[], None]] = []
    late = LateController(PROFILE, lambda: made, works.append)
    before = {name: late.limits(name) for name in (*CLASSES, None, "unknown")}
    assert before == {name: made.limits(name) for name in before}  # it begins with the same
    assert late.certified == made.certified
    late.begin()
    for now in (1.0, 2.0):  # nobody hears of it
        late.arrived("easy")
        late.finished("easy", 100)
        late.stepped(1, 100.0, 0.01)
        late.tick(now, 3)
    assert late.controller is None
    works[0]()
    assert late.controller is made
    assert made.status.time_s == 0.0
    for now in (3.0, 4.0):
        late.arrived("easy")
        late.tick(now, 3)
    assert made.status.in_system == 3
    assert {name: late.limits(name) for name in CLASSES} == {name: made.limits(name) for name in CLASSES}
    assert late.limits("easy") != before["easy"]


def test_a_controller_that_cannot_be_made_leaves_the_safe_point(caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Controller:
        raise ImportError("no cvxpy here")

    late = LateController(PROFILE, make, lambda work: work())
    before = late.limits("hard")
    with caplog.at_level(logging.ERROR):
        late.begin()
    late.tick(1.0, 5)
    assert late.limits("hard") == before
    assert "the safe point stays in force" in caplog.text
