"""Grading: what is right in which spelling, what stays wrong, and the process behind it."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from experiments.grading import mathematician
from experiments.grading.exact import last_boxed
from experiments.grading.grade import Grade, GradedBy, grade_counts
from experiments.grading.grader import Grader
from experiments.grading.mathematician import GradingError
from experiments.grading.tidy import LONGEST

ENDLESS = "99999999!"  # its evaluation holds the interpreter for minutes


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    one = Grader(limit_s=20.0)  # the machine may be busy; what takes long is tested apart
    yield one
    one.close()


RIGHT = {
    "a text around a number": [("18", r"\text{18}"), ("18", r"\mathbf{18}"), ("18", "$18$"), ("18", r"\(18\)")],
    "a unit": [
        ("18", r"18\text{ dollars}"),
        ("5", r"5\,\text{km}"),
        ("18", "18 eggs"),
        ("7", r"7 \text{ apples in total}"),
        ("5 km", "5"),
        ("5 km", "5 kilometers"),
        ("60 km/h", "60 kilometers per hour"),
        ("12 square centimeters", r"12\,\mathrm{cm}^{2}"),
        ("9\\pi", r"9\pi \text{ cm}^2"),
        ("18", r"\$18"),
        ("$18", "18 dollars"),
        ("2/3", r"\frac{2}{3}\text{ of the cake}"),
        ("5 apples", "5 Apples"),
        ("5 N", "5 newtons"),
        ("20", "20°C"),
        ("12", "12 sq. ft."),
        ("12", "12 men"),
        ("3 m", "3m"),
        (r"\pi r^2 \text{ cm}", r"\pi r^2"),
    ],
    "degrees": [("45", r"45^\circ"), ("45", "45°"), (r"45^{\circ}", "45 degrees")],
    "percent": [
        ("10", r"10\%"),
        ("10", r"10 \text{ percent}"),
        ("0.5", r"50\%"),
        ("50%", "0.5"),
        ("50%", "50"),
        ("0.5%", "0.005"),
    ],
    "an assignment": [("18", "x = 18"), ("x=18", "18"), ("x^2", "f(x)=x^2"), ("(1,2)", "x=1, y=2")],
    "a fraction": [
        ("1/2", r"\frac{1}{2}"),
        (r"\frac{1}{2}", r"\dfrac{1}{2}"),
        (r"\frac12", "0.5"),
        ("-1/2", r"-\frac{1}{2}"),
        ("-1/2", r"\frac{-1}{2}"),
        ("3/2", "1 1/2"),
        ("3/2", r"1\frac{1}{2}"),
        ("1/3", "0.333333"),
    ],
    "separators and exponents": [
        ("1000", "1,000"),
        ("1000", r"1{,}000"),
        ("70000", "70 000"),
        ("300000", r"3\times 10^5"),
        (r"1.6\times 10^{-19}", r"1.60 \times 10^{-19} \text{ J}"),
        (r"1.6\cdot 10^{-19}", "1.6×10^{-19}"),
        (r"\sqrt{2} \times 10^{-9}", r"\frac{2}{\sqrt{2}} \times 10^{-9}"),
    ],
    "a choice": [
        ("A", r"\text{A}"),
        ("A", "(A)"),
        ("(A)", "A"),
        ("A", "A."),
        ("A", r"\textbf{(A)}"),
        ("B", "B) 12"),
        ("B", "option B"),
        ("C", "The answer is (C) 5"),
    ],
    "a pair, a set, an interval": [
        ("(1,2)", "(1, 2)"),
        ("(1/2,3)", r"\left(\frac12, 3\right)"),
        ("1,2", "2,1"),
        (r"\{1,2\}", r"\{2, 1\}"),
        ("1,2", r"x=1 \text{ or } x=2"),
        ("2,-2", r"\pm 2"),
        ("[0,1)", "[0, 1)"),
        (r"(-\infty, 3]", r"\left(-\infty,3\right]"),
        ("(3,\\infty)", "x>3"),
    ],
    "an expression": [
        (r"2\sqrt{3}", r"\sqrt{12}"),
        ("x^2+1", "1+x^2"),
        (r"\frac{\pi}{2}", "π/2"),
        ("(x+1)^2", "x^2+2x+1"),
    ],
    "a word": [
        ("Paris", r"\text{Paris}"),
        ("yes", "Yes."),
        ("New York", r"\text{new  york}"),
        ("October 5", "october 5"),
    ],
}

WRONG = {
    "another number": [("1/2", "2"), ("3", "-3"), ("1/3", "0.33"), ("12", "1,2"), ("12", "1 2"), ("11/2", "1 1/2")],
    "too small to be rounded": [
        ("0.0000001", "0.0000002"),
        ("1/10000000", "0.0000002"),
        (r"1.6\times 10^{-19}", r"3.2\times 10^{-19}"),
        (r"\sqrt{2}\times 10^{-19}", r"\sqrt{3}\times 10^{-19}"),
    ],
    "neither rounded nor cut": [("700001/7", "100000.2"), ("1/3", "0.333334")],
    "another unit": [
        ("3 km", "3 m"),
        ("3 m", "3 km"),
        ("3 km", "3m"),
        ("5 km^2", "5 km"),
        ("$18", "18 cents"),
        ("6 am", "6 pm"),
        (r"45^\circ", "45 cm"),
        ("10 dollars", "10 dollars per hour"),
    ],
    "a word that changes the number": [
        ("18", "18 million"),
        ("2", "2 dozen"),
        ("18", "not 18"),
        ("4", "3 or 4"),
        ("5", "5!"),
    ],
    "a variable": [
        ("2", "2x"),
        ("3m", "3"),
        ("x=3", "y=3"),
        ("x+1", "x-1"),
        (r"2\pi n", r"2\pi"),
        (r"2\pi", r"2\pi k"),
        (r"\frac{\pi}{2}+\pi k", r"\frac{\pi}{2}+\pi"),
        ("2x-y", "2"),
        ("2x/y", "2"),
        ("2a*b", "2"),
        ("2 a", "2"),
        ("3 x^2 y^3", "3"),
        ("2 x y", "2"),
        ("6 xyz", "6"),
        ("3 sin x", "3"),
        ("2 ln x", "2"),
        ("3", "3n"),
        ("3", "3k"),
        ("x^2+2", "x^2+2n"),
        ("(x+1)", "(x+1)h"),
    ],
    "another case": [
        (r"\pi(R^2-r^2)", r"\pi(r^2-R^2)"),
        ("n-N", "N-n"),
        (r"\delta", r"\Delta"),
        ("5 mW", "5 MW"),
    ],
    "percent of nothing": [("50", "0.5"), ("0.5", "0.5%"), ("0.5%", "0.5"), ("5%", "$5"), ("$5", "5%")],
    "another choice": [("A", "B"), ("A", "A or B"), ("A", "(A) or (B)"), ("A", "An apple"), ("A", "A, B")],
    "another order, another bracket": [
        ("(1,2)", "(2,1)"),
        ("(1,2)", "[1,2]"),
        (r"\{1,2\}", "(1,2)"),
        ("[0,1)", "[0,1]"),
        ("(1,2)", "(1,2,3)"),
    ],
    "other signs": [("+ - *", "* - +"), ("+ -", "- +"), ("+ -", "+ - +"), ("5", "+ -"), ("+ -", "5")],
    "another word": [("no", "on"), ("Paris", "Rome"), ("AB", "BA")],
    "no answer": [("3", ""), ("3", r"\text{}"), (r"\frac{1}{2}", r"\frac{1")],
    "what must not be rounded or cut": [("3:30", "1:10"), ("12_8", "12_9"), (r"\sqrt2", "1.41")],
}


def pairs(table: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [pair for of in table.values() for pair in of]


@pytest.mark.parametrize(("gold", "answer"), pairs(RIGHT))
def test_an_answer_is_right_in_every_spelling(grader: Grader, gold: str, answer: str) -> None:
    assert grader.same(answer, gold).right
    assert grader.right(f"I think it is \\boxed{{{answer}}}.", gold).right


@pytest.mark.parametrize(("gold", "answer"), pairs(WRONG))
def test_an_answer_that_looks_alike_stays_wrong(grader: Grader, gold: str, answer: str) -> None:
    assert not grader.same(answer, gold).right


@pytest.mark.parametrize(
    ("gold", "reply"),
    [
        ("18", r"So \boxed{18}, put in \boxed{}."),
        ("18", r"\boxed{\boxed{18}}"),
        ("1,2", r"The roots are \boxed{1} and \boxed{2}."),
        ("5 km", "They walk 5 km."),
        (r"\frac12", "The answer is 1/2"),
        ("3 km", "It takes 3 in total."),
        ("3 hours", "It takes 3 when it rains."),
    ],
)
def test_a_reply_s_answer_is_found(grader: Grader, gold: str, reply: str) -> None:
    assert grader.right(reply, gold).right


@pytest.mark.parametrize(
    ("gold", "reply"),
    [
        ("5 km", "They walk 5 m."),
        ("2", r"\boxed{1} and \boxed{3}"),
        ("18", r"18 \boxed{}"),
        ("(1,2)", "it is (1,2)"),
        ("5 km", "5 million"),
    ],
)
def test_what_a_reply_does_not_answer_is_wrong(grader: Grader, gold: str, reply: str) -> None:
    assert not grader.right(reply, gold).right


def test_exact_comparisons_need_no_process() -> None:
    one = Grader()
    for gold, answer in [
        ("18", "18 dollars"),
        ("18", "19"),
        ("A", "(A)"),
        ("1/2", r"\frac12"),
        ("Paris", "Rome"),
        ("+ -", "- +"),
    ]:
        assert one.same(answer, gold).by is GradedBy.EXACT
    assert one.mathematician.pid is None


@pytest.mark.slow
def test_an_answer_that_takes_too_long_is_undecided_and_never_right_and_the_next_one_is_graded() -> None:
    one = Grader(limit_s=0.5)
    assert one.same("x+1", "1+x") == Grade(True, GradedBy.MATH_VERIFY)
    first = one.mathematician.pid
    began = time.monotonic()
    assert one.same(ENDLESS, "1") == Grade(False, GradedBy.UNDECIDED)
    assert time.monotonic() - began < 10.0
    assert one.mathematician.pid is None
    assert first is not None
    assert not psutil.pid_exists(first)
    assert one.same(ENDLESS, "1") == Grade(False, GradedBy.UNDECIDED)  # remembered: no process is started for it
    assert one.mathematician.pid is None
    assert Grader(limit_s=20.0).same("x+2", "2+x") == Grade(True, GradedBy.MATH_VERIFY)


@pytest.mark.slow
def test_a_process_that_is_killed_meanwhile_leaves_its_answer_undecided() -> None:
    one = Grader(limit_s=60.0)
    one.same("x+1", "1+x")
    pid = one.mathematician.pid
    assert pid is not None
    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    assert one.same(ENDLESS, "1") == Grade(False, GradedBy.UNDECIDED)
    assert one.same("x+2", "2+x") == Grade(True, GradedBy.MATH_VERIFY)
    assert one.mathematician.pid not in (None, pid)
    one.close()


@pytest.mark.slow
def test_a_process_that_was_killed_between_two_answers_costs_one_verdict_at_most() -> None:
    one = Grader(limit_s=20.0)
    one.same("x+1", "1+x")
    pid = one.mathematician.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    psutil.Process(pid).wait(10) if psutil.pid_exists(pid) else None
    assert not one.same("x+2", "2+y").right
    assert one.same("x+3", "3+x").right
    one.close()


@pytest.mark.slow
def test_an_interrupt_while_an_answer_is_awaited_leaves_no_late_verdict() -> None:
    one = Grader(limit_s=20.0)
    one.same("x+1", "1+x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mathematician, "_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            one.same("x+2", "2+x")
        assert one.mathematician.pid is None
        with pytest.raises(KeyboardInterrupt):  # while the process starts
            one.same("x+2", "2+x")
    assert one.mathematician.pid is None
    assert not one.same("x+3", "4+x").right
    one.close()


def interrupted(process: subprocess.Popen[bytes], within_s: float) -> object:
    raise KeyboardInterrupt


def test_a_reply_of_unclosed_boxes_is_read_in_one_pass() -> None:
    began = time.monotonic()
    assert last_boxed(r"\boxed{" * 10_000) is None
    assert last_boxed(r"\boxed{" * 10_000 + "7" + "}" * 10_000) == "7"
    assert time.monotonic() - began < 5.0


def test_any_thread_may_grade() -> None:
    one = Grader(limit_s=20.0)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: one.same(f"x+{n}", f"{n if n % 2 else n + 1}+x").right, range(24)))
    assert found == [bool(n % 2) for n in range(24)]
    one.close()


@pytest.mark.slow
def test_a_copy_asks_a_process_of_its_own() -> None:
    one = Grader(limit_s=20.0)
    one.same("x+1", "1+x")
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert other.mathematician.pid is None
        assert other.same("x+1", "1+x").right
        assert other.mathematician.pid not in (None, one.mathematician.pid)
        other.close()
    one.close()


def test_a_long_answer_is_not_read_as_mathematics() -> None:
    one = Grader()
    assert one.same("x+" * LONGEST + "1", "x") == Grade(False)
    assert one.same("y" * 2 * LONGEST, "y" * 2 * LONGEST) == Grade(True)
    assert one.mathematician.pid is None


@pytest.mark.slow
@pytest.mark.parametrize("busy", [False, True])
def test_the_process_ends_with_its_parent(busy: bool) -> None:
    program = (
        "import threading, time\nfrom experiments.grading.grader import Grader\ng = Grader(limit_s=3.0)\n"
        "g.same('x+1', '1+x')\nprint(g.mathematician.pid, flush=True)\n"
        + (f"g.same('{ENDLESS}', '1')" if busy else "time.sleep(600)")
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.5 if busy else 0.0)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    worker.wait(timeout=30)  # raises if the process outlives its parent


def test_without_math_verify_one_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "math_verify.py").write_text("raise ImportError('No module named math_verify')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(GradingError, match=r"math-verify cannot be loaded: No module named math_verify"):
        Grader().same("x+1", "1+x")


def test_grades_are_counted_by_who_decided() -> None:
    told = grade_counts(
        [Grade(True), Grade(False), Grade(True, GradedBy.MATH_VERIFY), Grade(False, GradedBy.UNDECIDED), Grade(True)]
    )
    assert (told.exact, told.math_verify, told.undecided, told.overruled) == (3, 1, 1, 1)
    assert str(told) == (
        "graded by: exact 3, math-verify 1 (1 right that the exact comparison would miss), undecided 1"
    )
