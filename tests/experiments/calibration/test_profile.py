"""Which questions choose the budgets, run after run, and how many are left to certify."""

from __future__ import annotations

import pytest

from experiments.calibration.profile import PILOT, Levels, ShortOfData, check_count, planned
from experiments.calibration.traces import BudgetChoice

LEVELS = Levels()
SEVEN = (40, 80, 120, 160, 200, 240)  # with no budget, seven columns


def keys(count: int) -> list[str]:
    return [f"question {number}" for number in range(count)]


def choice(count: int) -> BudgetChoice:
    """What the first run of so many questions chooses."""
    budgets, pilot = planned(keys(count), 2, None, None)
    assert budgets is None
    return BudgetChoice(budgets=SEVEN, pilot=tuple(keys(count)[number] for number in pilot))


@pytest.mark.parametrize("count", [211, 214, 400])
def test_more_questions_are_certified_by_all_but_the_first_run_s_pilot(count: int) -> None:
    first = choice(211)
    budgets, pilot = planned(keys(count), 2, None, first)
    assert budgets == SEVEN
    assert {keys(count)[number] for number in pilot} == set(first.pilot)
    check_count(count, LEVELS, budgets, pilot=len(pilot))


def test_a_run_that_ended_before_it_chose_leaves_no_pilot_behind() -> None:
    _, pilot = planned(keys(214), 2, None, None)  # after one of 211 that was killed among its thoughts
    assert len(pilot) == PILOT
    check_count(214, LEVELS, None, pilot=len(pilot))


def test_budgets_that_are_named_need_no_pilot_and_other_questions_have_none() -> None:
    assert planned(keys(214), 2, (60, 150), choice(211)) == ((60, 150), frozenset())
    others = [f"another {number}" for number in range(163)]
    assert planned(others, 2, None, choice(211)) == (SEVEN, frozenset())
    check_count(163, LEVELS, SEVEN, pilot=0)


def test_too_few_questions_beside_the_pilot_are_refused() -> None:
    repeated = keys(210) + keys(1)  # a pilot question that is asked twice certifies neither time
    first = BudgetChoice(budgets=SEVEN, pilot=tuple(keys(PILOT)))
    _, pilot = planned(repeated, 2, None, first)
    assert pilot == {*range(PILOT), 210}
    with pytest.raises(ShortOfData, match=r"there are 211 questions, must be at least 212: .* besides 49 that choose"):
        check_count(211, LEVELS, SEVEN, pilot=len(pilot))
