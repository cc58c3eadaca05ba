"""The account of risk: whatever arrives, what is charged stays within what was earned, and a key within its share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.risk.account import RiskAccount, RiskSettings, RollingSum, Stake

RISK = 0.02
SOON = RiskSettings(window_s=100.0, share_s=40.0)


def saved(least: float, key: str = "") -> RiskAccount:
    """An account with savings."""
    account = RiskAccount(RISK, RiskSettings())
    while account.left < least:
        account.serve(account.admit(0.0, key, 0.0), 0.0)
    return account


Event = tuple[float, str, float, float, int]
"""Share of what may be charged, key, seconds since the one before, a top-up, and what happens to an open request.

The last: 0 and the next few leave open requests alone; else an earlier one is served, or leaves.
"""

EVENTS = st.lists(
    st.tuples(
        st.one_of(st.just(1.0), st.floats(0.0, 1.0)),
        st.sampled_from("abc"),
        st.one_of(st.just(0.0), st.floats(0.0, 200.0)),
        st.one_of(st.just(0.0), st.floats(0.0, 0.3)),
        st.integers(0, 1000),
    ),
    max_size=80,
)


class Ran:
    """An account after some events: what is open, what was served, and what happened to the savings meanwhile."""

    def __init__(self, settings: RiskSettings = SOON) -> None:
        self.account = RiskAccount(RISK, settings)
        self.now, self.most = 0.0, RISK
        self.open: list[Stake] = []
        self.served: list[Stake] = []
        self.gone: list[Stake] = []  # that were looked at, and left
        self.charges: list[tuple[Stake, float]] = []  # in order, less what the request brings where it begins

    def run(self, events: list[Event]) -> None:
        for share, key, later, more, what in events:
            self.now += later
            stake = self.account.admit(share * self.account.open_to(key, self.now), key, self.now)
            self.open.append(stake)
            self.charges.append((stake, stake.charged - RISK))
            self.see()
            older = self.open[what % len(self.open)]
            if self.account.top_up(older, more, self.now):
                self.charges.append((older, more))
            self.see()
            for _ in range(what % 3):
                self.end(what)

    def end(self, what: int) -> None:
        if self.open:
            stake = self.open.pop(what % len(self.open))
            if what % 2:
                self.account.serve(stake, self.now)
                self.served.append(stake)
            elif what % 4:
                self.account.leave(stake, self.now)
                self.gone.append(stake)
            else:
                self.account.void(stake, self.now)
            self.see()

    def see(self) -> None:
        account = self.account
        self.most = max(self.most, account.most)
        assert 0.0 <= account.left <= account.most + 1e-9
        paid = [*self.served, *self.gone]
        spent = sum(stake.charged for stake in paid)
        assert spent <= RISK * len(paid) + 1e-9  # whoever may leave now: those before have paid for themselves
        assert account.spent <= RISK * account.requests + 1e-9
        assert account.requests == len(paid) + len(self.open)
        assert account.spent == pytest.approx(spent + sum(stake.charged for stake in self.open))


@given(events=EVENTS)
def test_from_the_start_no_more_is_charged_than_was_earned_whoever_leaves(events: list[Event]) -> None:
    ran = Ran()
    ran.run(events)
    while ran.open:
        ran.end(len(ran.open) * 7)


def test_who_begins_and_leaves_gives_nothing_to_spend() -> None:
    account = RiskAccount(RISK, RiskSettings())
    free = [account.admit(0.0, "", 0.0) for _ in range(5)]
    assert account.open_to("", 0.0) == RISK  # nothing is earned yet
    pays = account.admit(RISK, "", 0.0)
    for stake in free:
        account.void(stake, 1.0)
    account.serve(pays, 1.0)
    assert (account.requests, account.spent, account.left) == (1, pytest.approx(RISK), 0.0)


def test_who_leaves_after_a_look_stays_charged_and_earns_nothing() -> None:
    """Seven of ten leave a thought that is long: those served hold all early exits, for which all were charged."""
    account = saved(0.5)
    before, left = account.requests, account.left
    stakes = [account.admit(0.06, "", 0.0) for _ in range(10)]
    for stake in stakes[:7]:
        account.leave(stake, 1.0)
    for stake in stakes[7:]:
        account.serve(stake, 1.0)
    assert account.requests == before + 10
    assert account.spent == pytest.approx(0.6)
    assert account.left == pytest.approx(left - 10 * (0.06 - RISK))


def test_savings_lapse_before_they_can_be_drawn() -> None:
    account = RiskAccount(RISK, SOON)
    for _ in range(21):
        account.serve(account.admit(0.0, "a", 0.0), 0.0)
    assert account.left == pytest.approx(5 * RISK)
    late = 2 * SOON.window_s
    assert account.open_to("a", late) == pytest.approx(2 * RISK)
    stake = account.admit(account.open_to("a", late), "a", late)
    assert account.left == pytest.approx(0.0)
    assert not account.top_up(stake, RISK, late)


@given(events=EVENTS)
def test_over_any_time_no_more_is_charged_than_requests_bring_and_was_saved(events: list[Event]) -> None:
    ran = Ran()
    ran.run(events)
    stayed = [id(stake) for stake in (*ran.open, *ran.served, *ran.gone)]
    above = worst = 0.0  # what was charged above `risk` a request, over the worst time that ends now
    for stake, charge in ran.charges:
        if id(stake) in stayed:
            above = max(0.0, above + charge)
            worst = max(worst, above)
    assert worst <= ran.most + 1e-9


@given(events=EVENTS)
def test_a_request_may_always_be_charged_the_average(events: list[Event]) -> None:
    ran = Ran()
    ran.run(events)
    for key in ("a", "another"):
        assert ran.account.open_to(key, 1e6) >= RISK


@given(events=EVENTS)
def test_a_key_draws_no_more_than_its_share_of_what_could_be_drawn(events: list[Event]) -> None:
    account, now = RiskAccount(RISK, RiskSettings(window_s=1e9, share_s=1e9)), 0.0
    served: dict[str, int] = {}
    drawn: dict[str, float] = {}
    for share, key, later, more, what in events:
        now += later
        mine = (served.get(key, 0) + 1) / (sum(served.values()) + 1)
        pot = sum(drawn.values()) + account.left
        charge = share * account.open_to(key, now)
        stake = account.admit(charge, key, now)
        before = drawn.get(key, 0.0)
        account.top_up(stake, more, now)
        mine_now = sum(risk for _, risk in stake.drawn)
        drawn[key] = before + mine_now
        assert drawn[key] <= max(before, mine * pot) + 1e-9
        if what % 3:
            account.serve(stake, now)
            served[key] = served.get(key, 0) + 1
        else:
            account.void(stake, now)
            drawn[key] -= mine_now


def test_a_key_that_begins_and_leaves_has_no_larger_share() -> None:
    account = saved(0.5, "others")
    share = account.open_to("mine", 0.0)
    for _ in range(50):
        left = [account.admit(account.open_to("mine", 0.0), "mine", 0.0) for _ in range(3)]
        for stake in left:
            account.void(stake, 0.0)
    assert account.open_to("mine", 0.0) == pytest.approx(share)


def test_a_key_that_saves_nothing_draws_as_little_as_it_asks() -> None:
    account = RiskAccount(RISK, RiskSettings())
    for place in range(900):
        account.serve(account.admit(0.0, "saver", float(place)), float(place))
    for place in range(100):
        now = 900.0 + place
        account.serve(account.admit(account.open_to("spender", now), "spender", now), now)
    assert account.spent == pytest.approx(100 * RISK + 0.1 * (account.left + account.spent - 100 * RISK), rel=0.1)


def test_an_hour_of_calm_pays_for_a_burst_and_no_more() -> None:
    account, now = RiskAccount(RISK, RiskSettings()), 0.0
    for place in range(20_000):
        now = place * 0.18
        account.serve(account.admit(0.0166, "", now), now)
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
        account.serve(account.admit(0.0, "", place * 0.1), place * 0.1)
        assert account.left <= account.most
    assert account.most == pytest.approx(0.25 * RISK * 600, rel=0.05)
    assert account.left == pytest.approx(account.most, rel=0.05)


def test_a_request_that_was_not_served_neither_pays_nor_earns() -> None:
    account = RiskAccount(RISK, RiskSettings())
    for place in range(100):
        account.serve(account.admit(0.016, "", float(place)), float(place))
    left = account.left
    stake = account.admit(0.05, "", 100.0)
    assert account.left == pytest.approx(left - 0.03)
    account.void(stake, 100.0)
    assert (account.requests, account.spent) == (100, pytest.approx(1.6))
    assert account.left == pytest.approx(left)


def test_a_top_up_takes_what_the_request_itself_would_save_first() -> None:
    account = RiskAccount(RISK, RiskSettings())
    for _ in range(100):
        account.serve(account.admit(0.018, "", 0.0), 0.0)
    stake, left = account.admit(0.012, "", 0.0), account.left
    assert account.top_up(stake, 0.006, 0.0)
    assert account.left == left
    assert account.top_up(stake, 0.006, 0.0)
    assert account.left == pytest.approx(left - 0.004)
    account.serve(stake, 0.0)
    assert account.left == pytest.approx(left - 0.004)


def test_more_than_is_open_is_refused() -> None:
    account = RiskAccount(RISK, RiskSettings())
    with pytest.raises(ValueError, match=r"charge is 0\.03, must be between 0 and 0\.02"):
        account.admit(0.03, "", 0.0)
    stake = account.admit(RISK, "", 0.0)
    assert not account.top_up(stake, 0.01, 0.0)
    with pytest.raises(ValueError, match="risk is 1"):
        RiskAccount(1.0, RiskSettings())


def test_other_windows_count_what_the_former_ones_remember() -> None:
    account = RiskAccount(RISK, RiskSettings(window_s=6000.0, share_s=6000.0))
    for place in range(1000):
        key, now = "early" if place < 900 else "late", 5.0 * place
        account.serve(account.admit(0.0, key, now), now)
    share = (account.open_to("late", 5000.0) - RISK) / account.left
    account.settle(RiskSettings(window_s=500.0, share_s=500.0))
    drawn = account.open_to("late", 5000.0) - RISK
    assert drawn / account.left > 3.0 * share  # of the last 500 s nearly all requests are its
    assert drawn <= account.most == pytest.approx(0.25 * RISK * 100, rel=0.1)
    account.serve(account.admit(0.0, "late", 5000.0), 5000.0)
    assert account.most == pytest.approx(0.25 * RISK * 100, rel=0.1)


def test_who_leaves_gives_back_what_it_drew_in_a_window_of_another_length() -> None:
    account = saved(0.2, "mine")
    before = account.open_to("mine", 50.0)
    stake = account.admit(0.1, "mine", 50.0)
    account.settle(RiskSettings(share_s=700.0))
    account.void(stake, 55.0)
    assert account.open_to("mine", 55.0) == pytest.approx(before)


def test_keys_without_requests_are_looked_for_once_in_each_part_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    account = RiskAccount(RISK, RiskSettings(share_s=60.0))
    asked = 0
    at = RollingSum.at

    def counted(one: RollingSum, now: float) -> float:
        nonlocal asked
        asked += 1
        return at(one, now)

    for place in range(200):
        account.serve(account.admit(0.0, str(place), 0.0), 0.0)
    monkeypatch.setattr(RollingSum, "at", counted)
    for _ in range(100):
        account.serve(account.admit(0.0, "0", 0.5), 0.5)
    assert asked < 100 * 20  # not 200 keys each time


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
