"""The keeper: what requests are charged, and that no thought meets more than it was charged for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.policy import Limits
from controller.risk.account import RiskSettings
from controller.risk.keeper import Grant, RiskKeeper
from models.profile.give_up import LADDER
from models.profile.harm import OWN_BOUNDS
from models.profile.profile import Profile
from tests.support.account_profile import AGES, RISK, account_profile
from tests.support.analysis_profile import BUDGETS, CLASSES, THRESHOLDS

POOLED, OWN = account_profile(1000), account_profile(OWN_BOUNDS)
STRICT, USUAL, LAX = Limits(threshold=0.97), Limits(threshold=0.9), Limits(threshold=0.65)


def keeper(profile: Profile = POOLED, *, saved: float = 0.0) -> RiskKeeper:
    made = RiskKeeper(profile, RiskSettings(), time_s=lambda: 0.0)
    if saved:
        while made.account.left < saved:
            made.account.serve(made.account.admit(0.0, "", 0.0), 0.0)
    return made


def expect(made: RiskKeeper, *each: Limits) -> None:
    """Puts limits in force, one for each class; of one, the same for all."""
    limits = each * len(CLASSES) if len(each) == 1 else each
    named: dict[str | None, Limits] = {**dict(zip(CLASSES, limits, strict=True)), None: limits[-1]}
    made.expect(named, named)


def bound(profile: Profile, place: int, limits: Limits) -> float:
    harm = profile.harm
    assert harm is not None
    level = 0 if limits.give_up is None else 1 + LADDER.index(limits.give_up.curve)
    return float(harm.bounds[place, level, THRESHOLDS.index(limits.threshold), BUDGETS.index(limits.budget)])


def test_where_classes_share_bounds_a_request_is_charged_for_the_laxest_of_all() -> None:
    made = keeper(saved=1.0)
    expect(made, STRICT, USUAL, LAX)
    assert made.admit("easy", "", pays=True).charged == bound(POOLED, 0, LAX)


def test_where_classes_have_own_bounds_a_request_is_charged_for_its_own_corner() -> None:
    made = keeper(OWN, saved=1.0)
    expect(made, STRICT, USUAL, LAX)
    charged = [made.admit(name, "", pays=True).charged for name in CLASSES]
    assert charged == [bound(OWN, place, limits) for place, limits in enumerate((STRICT, USUAL, LAX))]


def test_limits_on_their_way_to_laxer_ones_are_charged_for_those() -> None:
    made = keeper(saved=1.0)
    now: dict[str | None, Limits] = dict.fromkeys((*CLASSES, None), STRICT)
    made.expect(now, dict.fromkeys(now, LAX))
    grant = made.admit("easy", "", pays=True)
    assert grant.charged == bound(POOLED, 0, LAX)
    assert made.within(grant, LAX, 200) == LAX  # it was paid for from the first


def test_a_short_account_holds_a_request_to_what_it_affords() -> None:
    made = keeper()
    expect(made, LAX)
    grant = made.admit("hard", "", pays=True)
    assert grant.charged <= RISK
    got = made.within(grant, LAX, 0)
    assert got.threshold is not None
    assert got.threshold > 0.65
    assert bound(POOLED, 2, got) == grant.charged
    assert made.status(0.0).refused == 1


def test_who_leaves_gets_the_charge_back_only_if_its_thought_was_never_looked_at() -> None:
    made = keeper(saved=1.0)
    expect(made, LAX)
    before = made.account.spent
    early, late = made.admit("easy", "", pays=True), made.admit("easy", "", pays=True)
    assert made.within(early, LAX, 0) == LAX
    assert made.within(late, LAX, 25) == LAX
    made.void(early)
    made.void(late)
    assert made.account.spent == pytest.approx(before + late.charged)


def test_where_classes_share_bounds_a_short_account_holds_all_to_one_corner() -> None:
    """Of classes to which other corners are cheapest; a bound of all holds where all stay within the same corner."""
    tokens = np.array(POOLED.tokens)
    tokens[0] = tokens[0] * np.linspace(1.0, 0.1, len(BUDGETS))  # to easy ones budgets save most …
    tokens[2] = tokens[2] * np.linspace(1.0, 0.1, len(THRESHOLDS))[:, None]  # … and to hard ones thresholds
    odd = replace(POOLED, tokens=tuple(tuple(map(tuple, table)) for table in tokens.tolist()))
    for most in (RISK, 0.03, 0.05):
        made = keeper(odd, saved=most - RISK)
        expect(made, Limits(threshold=0.65, budget=BUDGETS[3]))
        corners = set()
        for name in CLASSES:
            grant = made.admit(name, "", pays=True)
            corners.add(grant.corner)
            made.void(grant)
        assert len(corners) == 1


def test_who_does_not_pay_neither_earns_nor_gets_more_than_the_average_allows() -> None:
    made = keeper(saved=1.0)
    expect(made, LAX)
    before = made.status(0.0)
    grant = made.admit("hard", "", pays=False)
    assert made.status(0.0) == before
    assert bound(POOLED, 2, made.within(grant, LAX, 0)) <= RISK
    assert bound(POOLED, 2, made.within(grant, LAX, 200)) <= RISK
    assert made.status(0.0) == before


def test_a_running_thought_is_loosened_only_for_what_those_cost_who_still_run() -> None:
    made = keeper(saved=1.0)
    expect(made, USUAL)
    grant = made.admit("easy", "", pays=True)
    expect(made, Limits(threshold=0.8))
    assert made.within(grant, Limits(threshold=0.8), 50) == Limits(threshold=0.8)
    harm = POOLED.harm
    assert harm is not None
    alive = harm.share_alive(0, (0, THRESHOLDS.index(0.9), 0), 50)
    assert alive is not None
    assert grant.charged == pytest.approx(bound(POOLED, 0, Limits(threshold=0.8)) / alive)
    assert made.account.spent == pytest.approx(grant.charged)
    assert made.status(0.0).topped_up == 1


def test_a_thought_too_old_or_too_dear_keeps_its_limits() -> None:
    made = keeper(saved=1.0)
    expect(made, USUAL)
    old, young = made.admit("easy", "", pays=True), made.admit("easy", "", pays=True)
    expect(made, LAX)
    left = made.account.left
    assert made.within(old, LAX, max(AGES) + 1) == USUAL  # how many run then is not recorded
    assert made.within(young, LAX, 250) == USUAL  # above the peak, for one of those who run so long
    assert made.account.left == left


def test_without_records_of_running_thoughts_none_is_loosened() -> None:
    made = keeper(account_profile(1000, ages=False), saved=1.0)
    expect(made, USUAL)
    grant = made.admit("easy", "", pays=True)
    expect(made, LAX)
    assert made.within(grant, LAX, 1) == USUAL


def test_a_refused_top_up_is_asked_for_again_once_the_account_has_recovered() -> None:
    made = keeper(saved=0.02)
    expect(made, USUAL)
    grant = made.admit("easy", "", pays=True)
    lax = Limits(threshold=0.8)
    expect(made, lax)
    assert made.within(grant, lax, 50) == USUAL
    while made.account.left < 0.1:
        made.account.serve(made.account.admit(0.0, "", 0.0), 0.0)
    assert made.within(grant, lax, 50) == lax
    assert made.status(0.0).topped_up == 1


def test_an_account_in_debt_allows_a_plan_no_less_than_the_average() -> None:
    made = keeper()
    made.account.left = -1.0
    assert made.allowance(0.001).charge == RISK


def test_other_windows_come_into_force_while_it_serves() -> None:
    made = keeper(saved=0.3)
    assert made.account.most > 0.3
    made.settle(RiskSettings(window_s=1.0))
    now = made.account.admit(0.0, "", 10.0)
    made.account.serve(now, 10.0)
    assert made.account.left <= made.account.most == RISK


def test_a_short_account_holds_a_request_to_what_takes_the_fewest_tokens_of_its_own_class() -> None:
    tokens = np.array(OWN.tokens)
    tokens[0, 1:, 0] = tokens[0, 0, 0] * 0.99  # thresholds alone spare the easy class next to nothing, budgets a lot
    made = keeper(replace(OWN, tokens=tuple(tuple(map(tuple, table)) for table in tokens.tolist())))
    expect(made, Limits(threshold=0.65, budget=BUDGETS[-1]))
    for place, name in enumerate(CLASSES):
        got = made.within(made.admit(name, "", pays=True), Limits(threshold=0.65, budget=BUDGETS[-1]), 0)
        corner = THRESHOLDS.index(got.threshold), BUDGETS.index(got.budget)
        open_to = [
            tokens[place, i, j]
            for i, j in np.ndindex(tokens.shape[1:])
            if bound(OWN, place, Limits(threshold=THRESHOLDS[i], budget=BUDGETS[j])) <= RISK
        ]
        assert tokens[place][corner] == min(open_to)


def test_a_budget_is_not_lowered_below_what_a_thought_has_passed() -> None:
    made = keeper(saved=1.0)
    expect(made, Limits(threshold=0.9, budget=250))
    grant = made.admit("hard", "", pays=True)
    assert made.within(grant, USUAL, 100) == USUAL
    assert made.within(grant, Limits(threshold=0.9, budget=250), 251).budget == 400  # the next longer that was recorded
    assert made.within(grant, Limits(threshold=0.9, budget=400), 300).budget == 400
    assert made.within(grant, Limits(threshold=0.9, budget=400), 400).budget == 400  # it was in force before


def test_a_request_that_was_not_served_gives_its_charge_back_once() -> None:
    made = keeper(saved=1.0)
    expect(made, LAX)
    made.admit("hard", "", pays=True)
    left, spent = made.account.left, made.account.spent
    grant = made.admit("hard", "", pays=True)
    assert made.account.left < left
    made.void(grant)
    made.void(grant)
    assert (made.account.left, made.account.spent) == pytest.approx((left, spent))


def test_kept_risk_is_worth_the_less_the_fuller_the_account() -> None:
    made = keeper()
    assert made.worth == 1.0
    for _ in range(1000):
        made.account.serve(made.account.admit(0.0, "", 0.0), 0.0)
    assert made.worth == pytest.approx(0.0, abs=1.5e-3)  # the quarter that the last one has brought is not saved yet
    assert made.allowance(10.0).charge == pytest.approx(RISK + made.account.left / 300.0)


POINTS = [Limits(threshold=point.threshold, budget=point.budget) for point in POOLED.points()]


@settings(deadline=None)
@given(
    own=st.booleans(),
    saved=st.sampled_from([0.0, 0.3]),
    moves=st.lists(
        st.tuples(st.lists(st.sampled_from(POINTS), min_size=3, max_size=3), st.integers(0, 60), st.booleans()),
        min_size=1,
        max_size=30,
    ),
)
def test_whatever_moves_no_thought_meets_more_than_it_was_charged_for(
    own: bool, saved: float, moves: list[tuple[list[Limits], int, bool]]
) -> None:
    profile = OWN if own else POOLED
    made = keeper(profile, saved=saved)
    running: list[tuple[Grant, int]] = []
    seen: list[tuple[int, int | None]] = []  # of each, its age, and the budget at the last look
    for each, later, pays in moves:
        expect(made, *each)
        place = later % len(CLASSES)
        running.append((made.admit(CLASSES[place], "", pays=pays), place))
        seen.append((0, None))
        for number, (grant, whose) in enumerate(running):
            age, before = seen[number]
            got = made.within(grant, each[whose], age)
            most = grant.charged if grant.pays else RISK
            assert bound(profile, whose, got) <= most + 1e-12
            if got.budget is not None and got.budget <= age:
                assert before is not None
                assert got.budget >= before  # it was there when the thought came to it
            seen[number] = age + later, got.budget
        account = made.account
        assert account.left >= 0.0
        assert account.spent <= account.risk * account.requests + 1e-9
