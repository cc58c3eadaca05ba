"""The account of risk: whatever arrives, what is charged stays within what was earned, and a key within its share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.risk.account import RiskAccount, RiskSettings, RollingSum

RISK = 0.02
SOON = RiskSettings(window_s=100.0, share_s=40.0)

Admission = tuple[float, str, float, float]
"""Share of what may be charged, key, seconds since the one before, and a top-up that is asked for after it."""

ADMISSIONS = st.lists(
    st.tuples(
        st.one_of(st.just(1.0), st.floats(0.0, 1.0)),
        st.sampled_from("abc"),
        st.one_of(st.just(0.0), st.floats(0.0, 200.0)),
        st.one_of(st.just(0.0), st.floats(0.0, 0.3)),
    ),
    max_size=80,
)


def charged(account: RiskAccount, admissions: list[Admission]) -> tuple[list[float], float]:
    """Returns what each admission was charged, top-ups after it included, and the most that could ever be saved."""
    now, found, most = 0.0, [], account.most
    for share, key, later, more in admissions:
        now += later
        # a charge may lie anywhere from nothing to all that is open
        charge = share * account.open_to(key, now)
        account.admit(charge, key, now)
        topped = account.top_up(more, key, now)
        found.append(charge + (more if topped else 0.0))
        most = max(most, account.most)
    return found, most


@given(admissions=ADMISSIONS)
def test_from_the_start_no_more_is_charged_than_was_earned(admissions: list[Admission]) -> None:
    account = RiskAccount(RISK, SOON)
    charges, _ = charged(account, admissions)
    for n in range(1, len(charges) + 1):
        assert sum(charges[:n]) <= RISK * n + 1e-9
    assert account.spent == pytest.approx(sum(charges))
    assert account.requests == len(charges)


@given(admissions=ADMISSIONS)
def test_over_any_requests_in_a_row_no_more_is_charged_than_earned_and_saved(admissions: list[Admission]) -> None:
    account = RiskAccount(RISK, SOON)
    charges, most = charged(account, admissions)
    for first in range(len(charges)):
        for last in range(first, len(charges)):
            assert sum(charges[first : last + 1]) <= RISK * (last - first + 1) + most + 1e-9


@given(admissions=ADMISSIONS)
def test_a_request_may_always_be_charged_the_average(admissions: list[Admission]) -> None:
    account = RiskAccount(RISK, SOON)
    charged(account, admissions)
    now = 1e6
    for key in ("a", "another"):
        assert account.open_to(key, now) >= RISK - 1e-9


@given(admissions=ADMISSIONS)
def test_a_key_draws_no_more_than_its_share_of_what_could_be_drawn(admissions: list[Admission]) -> None:
    account, now = RiskAccount(RISK, RiskSettings(window_s=1e9, share_s=1e9)), 0.0
    asked: dict[str, int] = {}
    drawn: dict[str, float] = {}
    for share, key, later, more in admissions:
        now += later
        asked[key] = asked.get(key, 0) + 1
        mine = asked[key] / sum(asked.values())
        pot = sum(drawn.values()) + account.left + RISK
        charge = share * account.open_to(key, now)
        account.admit(charge, key, now)
        if charge > RISK:
            drawn[key] = drawn.get(key, 0.0) + charge - RISK
            assert drawn[key] <= mine * pot + 1e-9
        pot = sum(drawn.values()) + account.left
        if account.top_up(more, key, now) and more:
            drawn[key] = drawn.get(key, 0.0) + more
            assert drawn[key] <= mine * pot + 1e-9


def test_a_key_that_saves_nothing_draws_as_little_as_it_asks() -> None:
    account = RiskAccount(RISK, RiskSettings())
    for place in range(900):
        account.admit(0.0, "saver", float(place))
    for place in range(100):
        account.admit(account.open_to("spender", 900.0 + place), "spender", 900.0 + place)
    assert account.spent == pytest.approx(100 * RISK + 0.1 * (account.left + account.spent - 100 * RISK), rel=0.1)


def test_an_hour_of_calm_pays_for_a_burst_and_no_more() -> None:
    account, now = RiskAccount(RISK, RiskSettings()), 0.0
    for place in range(20_000):
        now = place * 0.18
        account.admit(0.0166, "", now)
    assert account.left == pytest.approx(20_000 * 0.0034, rel=1e-3)
    burst = 0
    while account.open_to("", now) >= 0.0647:
        account.admit(0.0647, "", now)
        burst += 1
    assert burst == pytest.approx(20_000 * 0.0034 / 0.0447, rel=1e-3)
    assert account.spent <= RISK * account.requests


def test_no_more_is_saved_than_a_quarter_of_the_window_s_income() -> None:
    account = RiskAccount(RISK, RiskSettings(window_s=60.0))
    for place in range(10_000):
        account.admit(0.0, "", place * 0.1)
    assert account.left == account.most == pytest.approx(0.25 * RISK * 600, rel=0.05)


def test_a_request_that_was_not_served_neither_pays_nor_earns() -> None:
    account = RiskAccount(RISK, RiskSettings())
    for place in range(100):
        account.admit(0.016, "", float(place))
    left = account.left
    account.admit(0.05, "", 100.0)
    account.void(0.05)
    assert (account.requests, account.spent) == (100, pytest.approx(1.6))
    assert account.left == pytest.approx(left)
    while account.open_to("", 101.0) > RISK + 1e-6:
        account.admit(account.open_to("", 101.0), "", 101.0)
    account.void(0.0)
    assert account.left < 0.0
    assert account.open_to("", 101.0) < RISK


def test_more_than_is_open_is_refused() -> None:
    account = RiskAccount(RISK, RiskSettings())
    with pytest.raises(ValueError, match=r"charge is 0\.03, must be between 0 and 0\.02"):
        account.admit(0.03, "", 0.0)
    assert not account.top_up(0.01, "", 0.0)
    with pytest.raises(ValueError, match="risk is 1"):
        RiskAccount(1.0, RiskSettings())


@given(
    steps=st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(0.0, 5.0)), min_size=1, max_size=60),
    window_s=st.sampled_from([10.0, 60.0]),
)
def test_a_rolling_sum_holds_its_window_and_at_most_a_part_more(
    steps: list[tuple[float, float]], window_s: float
) -> None:
    rolling, times, now = RollingSum(window_s), [], 0.0
    for later, value in steps:
        now += later
        rolling.add(now, value)
        times.append((now, value))
    inside = sum(value for at, value in times if at > now - window_s)
    reach = sum(value for at, value in times if at >= now - window_s * (1 + 2 / 60))
    assert inside - 1e-9 <= rolling.at(now) <= reach + 1e-9


def test_a_clock_that_goes_back_stands_still() -> None:
    rolling = RollingSum(60.0)
    for now in (100.0, 40.0, 100.5):
        rolling.add(now, 1.0)
    assert rolling.at(100.0) == 3.0
    assert rolling.at(500.0) == 0.0
