"""The thread that solves beside the serving loop."""

from __future__ import annotations

import threading
import time

from controller.planning.plan import Plan, SolveRequest
from controller.solver_thread import SolverThread
from tests.support.driven_controller import PLANNER, AtOnce, Driven


class Panic(BaseException):
    """What a library in Rust raises where it gives up."""


def test_a_solver_s_panic_is_its_answer_and_the_next_request_is_solved() -> None:
    asked = AtOnce()
    Driven(asked).run(20.0, rate=1.0, in_system=2)
    panics = [True, False]

    def solve(situation: SolveRequest) -> Plan:
        if panics.pop(0):
            raise Panic("index out of bounds")
        return PLANNER(situation)

    solver = SolverThread(solve)
    answers = []
    for situation in asked.situations[:2]:
        solver.ask(situation)
        wait_for = time.monotonic() + 10.0
        while (answer := solver.answer()) is None and time.monotonic() < wait_for:
            time.sleep(0.01)
        answers.append(answer)
    solver.stop()
    assert [type(one).__name__ for one in answers] == ["RuntimeError", "Plan"]
    assert str(answers[0]) == "Panic: index out of bounds"


def test_the_latest_situation_wins_on_the_solver_s_thread() -> None:
    begun, go, solved = threading.Event(), threading.Event(), []

    def solve(situation: SolveRequest) -> Plan:
        begun.set()
        go.wait(10.0)
        solved.append(situation.number)
        return PLANNER(situation)

    asked = AtOnce()
    driven = Driven(asked)
    driven.run(20.0, rate=1.0, in_system=2)
    solver = SolverThread(solve)
    for situation in asked.situations[:3]:
        solver.ask(situation)
        assert begun.wait(10.0)
    go.set()
    deadline = time.monotonic() + 10.0
    while len(solved) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    solver.stop()
    assert solved == [asked.situations[0].number, asked.situations[2].number]
