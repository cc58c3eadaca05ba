"""What each lever is worth, and the linear program with all of them against brute force."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.analysis.checks import gaps
from experiments.analysis.levers import GAINS, LOSSES, lever_worth
from experiments.analysis.situation import situation
from models.profile.lever import Lever
from tests.support.analysis_profile import PLAIN, made_profile, still
from tests.support.give_up_profile import giving_up_profile
from tests.support.width_profile import racing_profile


def test_each_lever_s_worth_is_told_giving_up_where_it_is_tabulated() -> None:
    plain = lever_worth(situation(made_profile(certified_to=5), PLAIN))
    assert [one.lever for one in plain.without] == ["thresholds", "budgets"]
    found = lever_worth(situation(giving_up_profile(), PLAIN))
    assert [one.lever for one in found.without] == ["thresholds", "budgets", "giving up"]
    assert found.without[-1].tokens == plain.tokens
    assert found.accuracy == tuple(found.accuracy[0] - loss for loss in LOSSES)


def test_width_reaches_what_no_other_lever_does() -> None:
    found = lever_worth(situation(racing_profile(), PLAIN))
    assert [one.lever for one in found.without] == ["thresholds", "budgets", "width"]
    assert len(found.accuracy) == len(GAINS) + len(LOSSES)
    assert found.tokens[0] is not None
    assert found.without[-1].tokens[: len(GAINS)] == (None,) * len(GAINS)


def test_no_front_gains_by_losing_a_lever_that_costs_no_certificate() -> None:
    found = lever_worth(situation(giving_up_profile(), PLAIN))
    for one in found.without:
        for less, every in zip(one.tokens, found.tokens, strict=True):
            assert every is not None
            assert less is None or less >= every - 1e-9
    giving_up = found.without[-1].tokens
    assert giving_up[-1] is not None
    assert found.tokens[-1] is not None
    assert giving_up[-1] > 1.02 * found.tokens[-1]


def test_no_way_to_decide_beats_the_linear_program_with_all_levers() -> None:
    one = situation(giving_up_profile(harmed=4), PLAIN, rates=[9.0])
    one = replace(one, tables=replace(one.measured, levers=frozenset({Lever.GIVE_UP})).tables())
    assert any(point.give_up is not None for point in one.tables.points)
    for gap in gaps(one, [3.0, 9.0, 12.0, 17.0], still, lambda: None):
        assert gap.brute_force is not None
        assert gap.linear_program >= max(gap.price_bisection, gap.brute_force) - 2e-5
        assert gap.linear_program == pytest.approx(gap.brute_force, abs=0.05)
