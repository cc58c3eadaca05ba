"""What each lever is worth, and the linear program with all of them against brute force."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from controller.policies.restricted import within_account
from experiments.analysis.capacity import memory
from experiments.analysis.checks import gaps
from experiments.analysis.levers import GAINS, LOSSES, PEAK, lever_worth, order_worth
from experiments.analysis.situation import situation
from models.profile.lever import Lever
from tests.support.account_profile import account_profile
from tests.support.analysis_profile import PLAIN, made_profile, still
from tests.support.give_up_profile import giving_up_profile
from tests.support.width_profile import racing_profile


def test_each_lever_s_worth_is_told_giving_up_where_it_is_tabulated() -> None:
    plain = lever_worth(situation(made_profile(certified_to=5), PLAIN))
    assert [one.lever for one in plain.without] == ["thresholds", "budgets", "account of risk"]
    found = lever_worth(situation(giving_up_profile(), PLAIN))
    assert [one.lever for one in found.without] == ["thresholds", "budgets", "giving up", "account of risk"]
    assert found.without[2].tokens == plain.tokens
    assert found.accuracy == tuple(found.accuracy[0] - loss for loss in LOSSES)


def test_width_reaches_what_no_other_lever_does() -> None:
    found = lever_worth(situation(racing_profile(), PLAIN))
    assert [one.lever for one in found.without] == ["thresholds", "budgets", "width", "account of risk"]
    assert len(found.accuracy) == len(GAINS) + len(LOSSES)
    assert found.tokens[0] is not None
    assert found.without[2].tokens[: len(GAINS)] == (None,) * len(GAINS)


def test_no_front_gains_by_losing_a_lever_that_costs_no_certificate() -> None:
    found = lever_worth(situation(giving_up_profile(), PLAIN))
    for one in found.without[:3]:
        for less, every in zip(one.tokens, found.tokens, strict=True):
            assert every is not None
            assert less is None or less >= every - 1e-9
    giving_up = found.without[2].tokens
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


def test_an_account_is_told_against_the_front_that_it_brings() -> None:
    """Brute force: the cheapest share of two settings of all classes, each within the peak, at the risk on average."""
    profile = replace(account_profile(1000), certificate=made_profile().certificate)
    one = situation(profile, PLAIN)
    found = lever_worth(one).without[-1]
    assert found.lever == "account of risk"
    assert found.against is not None
    tables = within_account(profile, profile.certificate.epsilon, PEAK).tables()
    assert tables.charges is not None
    wanted = float(one.mix @ one.tables.accuracy[:, 0]) - LOSSES[2]
    best, inside = math.inf, tables.inside()
    same = [
        (one.mix @ tables.tokens[:, k], one.mix @ tables.accuracy[:, k], tables.charges.of[0, k])
        for k in range(len(inside))
    ]
    for a, b in itertools.combinations(same, 2):
        for share in np.linspace(0.0, 1.0, 21):
            tokens, accuracy, charge = (share * x + (1.0 - share) * y for x, y in zip(a, b, strict=True))
            if accuracy >= wanted and charge <= profile.certificate.epsilon:
                best = min(best, tokens)
    assert found.against[2] is not None
    assert found.against[2] <= best + 1e-6  # settings by class are at least as good as one for all
    assert found.against[2] > 0.5 * best


def test_shortest_first_is_worth_something_where_requests_wait_and_nothing_where_none_do() -> None:
    busy = lever_worth(situation(made_profile(), PLAIN, rates=[1.0, 16.0])).order
    assert busy is not None
    assert busy.shortest_s[0] == busy.first_come_s[0]
    assert busy.shortest_s[1] < 0.97 * busy.first_come_s[1]
    one = situation(made_profile(), PLAIN)
    assert order_worth(replace(one, tables=replace(one.tables, square=None))) is None


def test_what_cells_leave_room_for_is_told_where_a_situation_names_them() -> None:
    assert memory(situation(made_profile(), PLAIN), still) == ()
    ample, short = (
        memory(situation(made_profile(), PLAIN, rates=[11.0], cells=cells), still)[0] for cells in (10**6, 2000)
    )
    assert (ample.batch, ample.cells, ample.cell_price) == (16, ample.cells_without, 0.0)
    assert short.batch < 16
    assert short.cells < short.cells_without == ample.cells
    assert short.cell_price > 0.0
    assert short.sequence_price > 0.0
