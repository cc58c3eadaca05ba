"""An account of risk where hopeless thoughts are given up: charged is the bound that includes the lower curve."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.controller import Controller
from controller.decision_record import DecisionRecord
from controller.planning.planner import Planner
from controller.policies.definition import PolicyContext, certified_at
from controller.policies.load_aware import LoadAware
from controller.policies.restricted import standing, with_levers, within_account
from controller.policy import Limits
from controller.replay import replay
from controller.risk.account import RiskSettings
from controller.risk.keeper import Grant, RiskKeeper
from controller.selection import choose, safe_points
from controller.settings import ControllerSettings, FixedSettings
from models.profile.certificate import upper_bound
from models.profile.corners import corners
from models.profile.give_up import LADDER, GiveUpLimit
from models.profile.harm import ALIVE_SHARE, OWN_BOUNDS
from models.profile.lever import Lever
from models.profile.profile import Profile, ProfileError
from tests.support.account_profile import PEAK, RISK, account_profile
from tests.support.analysis_profile import BUDGETS, CLASSES, PLAIN, THRESHOLDS
from tests.support.driven_controller import AtOnce
from tests.support.give_up_profile import MEDIANS

POOLED, OWN = account_profile(1000, curves=True), account_profile(OWN_BOUNDS, curves=True)
TABLES = POOLED.tables()
PLANNER = Planner(TABLES, clock=time.perf_counter)
RATE = POOLED.plant_model().capacity / POOLED.full_thought_tokens  # requests/s of full thoughts


def limits(threshold: float | None, level: int = 0, *, budget: int | None = None, place: int = 0) -> Limits:
    """Limits of a class under the ladder's curve `level`; 0: none."""
    curve = GiveUpLimit(curve=LADDER[level - 1], median=MEDIANS[place]) if level else None
    return Limits(threshold=threshold, budget=budget, give_up=curve)


def keeper(profile: Profile = POOLED, *, saved: float = 0.0) -> RiskKeeper:
    made = RiskKeeper(profile, RiskSettings(), time_s=lambda: 0.0)
    while made.account.left < saved:
        made.account.serve(made.account.admit(0.0, "", 0.0), 0.0)
    return made


def expect(made: RiskKeeper, threshold: float, level: int) -> None:
    """Puts a threshold and a curve in force for all classes."""
    named: dict[str | None, Limits] = {name: limits(threshold, level, place=d) for d, name in enumerate(CLASSES)}
    named[None] = named[CLASSES[-1]]
    made.expect(named, named)


def bound(profile: Profile, place: int, met: Limits) -> float:
    harm = profile.harm
    assert harm is not None
    level = 0 if met.give_up is None else 1 + LADDER.index(met.give_up.curve)
    return float(harm.bounds[place, level, THRESHOLDS.index(met.threshold), BUDGETS.index(met.budget)])


def test_a_request_is_charged_the_exact_bound_of_its_curve_at_its_part_of_delta() -> None:
    made = keeper(saved=1.0)
    expect(made, 0.9, 4)
    charged = made.admit("easy", "", pays=True).charged
    assert POOLED.give_up is not None
    harmed = POOLED.give_up.harmed[4][THRESHOLDS.index(0.9)][0]
    assert harmed > POOLED.certificate.harmed[THRESHOLDS.index(0.9)][0]
    corners_there = len(THRESHOLDS) - 1 + len(LADDER) * (len(THRESHOLDS) - 1)  # of no budget, but the full thought
    delta = POOLED.certificate.delta * (1.0 - ALIVE_SHARE) / 2.0 / corners_there
    assert charged == pytest.approx(upper_bound(harmed, POOLED.certificate.count, delta))


def test_charges_lie_above_what_was_seen_and_grow_with_the_curve() -> None:
    for profile in (POOLED, OWN):
        harm, tables = profile.harm, profile.give_up
        assert harm is not None
        assert tables is not None
        for axis in (1, 2, 3):
            assert (np.diff(harm.bounds, axis=axis) >= 0.0).all()
        seen = np.array(tables.harmed)[:, 1:] / profile.certificate.count
        assert (np.average(harm.bounds, axis=0)[:, 1:] >= seen).all()
        assert (harm.bounds[:, 1:, 0] == harm.bounds[:, :1, 0]).all()  # what is never probed is not given up
    plain = account_profile(1000).harm
    assert plain is not None
    assert POOLED.harm is not None
    assert (POOLED.harm.bounds[:, 0, 1:] >= plain.bounds[:, 0, 1:]).all()  # more corners share δ


def test_fewer_thoughts_are_counted_as_running_under_a_curve() -> None:
    assert POOLED.harm is not None
    shares = [POOLED.harm.share_alive(0, (level, 3, 0), 64) for level in range(1 + len(LADDER))]
    assert all(share is not None for share in shares)
    assert shares == sorted(shares, key=lambda share: -(share or 0.0))
    assert shares[0] != shares[-1]


def test_every_point_that_may_be_handed_out_keeps_the_peak() -> None:
    for profile in (POOLED, OWN):
        charges = profile.tables().charges
        assert charges is not None
        assert RISK < charges.of.max() <= PEAK
        assert {point.give_up for point in profile.points()} == {None, *LADDER}
        for k, point in enumerate(profile.points()):
            level = 0 if point.give_up is None else 1 + LADDER.index(point.give_up)
            for d in range(len(CLASSES)):
                assert charges.of[d, k] == bound(profile, d, limits(point.threshold, level, budget=point.budget))


def test_what_requests_may_fix_is_what_the_account_always_affords() -> None:
    found = corners(standing(POOLED))
    assert found
    for corner in found:
        assert corner.give_up is None
        assert bound(POOLED, 0, Limits(threshold=corner.threshold, budget=corner.budget)) <= RISK
    assert min(corner.threshold or 2.0 for corner in found) > min(corner.threshold or 2.0 for corner in corners(POOLED))


def test_risk_peak_and_giving_up_are_certified_together_and_refused_together() -> None:
    source = account_profile(1000, curves=True)
    both = certified_at(source, RISK, PEAK, levers=(Lever.GIVE_UP,))
    assert (both.certificate.mean, both.certificate.epsilon, both.levers) == (RISK, PEAK, {Lever.GIVE_UP})
    assert both.points() == POOLED.points()
    with pytest.raises(ProfileError, match=r"no giving up: no curve has a bound of 0\.004 or less"):
        with_levers(within_account(source, 0.003, 0.004), {Lever.GIVE_UP})
    found: list[Profile] = []

    def controller(usable: Profile) -> Controller:
        found.append(usable)
        return Controller(usable, settings=FixedSettings(ControllerSettings()), solver=AtOnce(PLANNER))

    LoadAware(risk=RISK, risk_peak=PEAK, give_up=True).make(
        PolicyContext(profile=source, max_batch=8, controller=controller)
    )
    assert found[0].points() == both.points()
    assert found[0].harm is not None


# --- the keeper


def test_a_short_account_lowers_the_curve_too_and_keeps_the_class_s_median() -> None:
    made = keeper()
    expect(made, 0.65, 5)
    for place, name in enumerate(CLASSES):
        grant = made.admit(name, "", pays=True)
        assert grant.charged <= RISK
        got = made.within(grant, limits(0.65, 5, place=place), 0)
        assert bound(POOLED, place, got) <= grant.charged
        if got.give_up is not None:
            assert got.give_up.median == MEDIANS[place]
    assert made.status(0.0).refused == len(CLASSES)


def test_who_does_not_pay_meets_no_curve_beyond_the_average() -> None:
    made = keeper(saved=1.0)
    expect(made, 0.9, 5)
    grant = made.admit("hard", "", pays=False)
    assert bound(POOLED, 2, made.within(grant, limits(0.9, 5, place=2), 100)) <= RISK
    assert made.account.spent == 0.0


def test_a_curve_for_a_running_thought_is_a_top_up_by_those_who_still_run() -> None:
    made = keeper(saved=1.0)
    expect(made, 0.95, 1)
    grant = made.admit("easy", "", pays=True)
    expect(made, 0.95, 3)
    assert made.within(grant, limits(0.95, 3), 50) == limits(0.95, 3)
    assert POOLED.harm is not None
    alive = POOLED.harm.share_alive(0, (1, THRESHOLDS.index(0.95), 0), 50)
    assert alive is not None
    assert grant.charged == pytest.approx(bound(POOLED, 0, limits(0.95, 3)) / alive)


def test_a_thought_that_was_charged_without_a_curve_is_not_given_up_for_nothing() -> None:
    made = keeper(saved=1.0)
    expect(made, 0.9, 0)
    grant = made.admit("easy", "", pays=True)
    left = made.account.left
    assert made.within(grant, limits(0.9, 5), 1_000) == limits(0.9)  # how many run then is not recorded
    assert made.account.left == left
    full = keeper(account_profile(1000, risk=0.0001, curves=True))
    expect(full, 0.9, 5)
    got = full.within(full.admit("easy", "", pays=True), limits(0.9, 5), 0)
    assert got == Limits()  # all that is affordable: never probed, so not given up either


POINTS = [
    limits(point.threshold, 0 if point.give_up is None else 1 + LADDER.index(point.give_up), budget=point.budget)
    for point in POOLED.points()
]


def _of_class(met: Limits, place: int) -> Limits:
    level = 0 if met.give_up is None else 1 + LADDER.index(met.give_up.curve)
    return limits(met.threshold, level, budget=met.budget, place=place)


@settings(deadline=None)
@given(
    own=st.booleans(),
    saved=st.sampled_from([0.0, 0.3]),
    moves=st.lists(
        st.tuples(st.lists(st.sampled_from(POINTS), min_size=3, max_size=3), st.integers(0, 60), st.booleans()),
        min_size=1,
        max_size=25,
    ),
)
def test_whatever_moves_no_thought_meets_more_than_it_was_charged_for(
    own: bool, saved: float, moves: list[tuple[list[Limits], int, bool]]
) -> None:
    profile = OWN if own else POOLED
    made = keeper(profile, saved=saved)
    running: list[tuple[Grant, int]] = []
    ages: list[int] = []
    for each, later, pays in moves:
        mine = [_of_class(met, place) for place, met in enumerate(each)]
        named: dict[str | None, Limits] = {**dict(zip(CLASSES, mine, strict=True)), None: mine[-1]}
        made.expect(named, named)
        place = later % len(CLASSES)
        running.append((made.admit(CLASSES[place], "", pays=pays), place))
        ages.append(0)
        for number, (grant, whose) in enumerate(running):
            got = made.within(grant, mine[whose], ages[number])
            assert bound(profile, whose, got) <= (grant.charged if grant.pays else RISK) + 1e-12
            assert not grant.pays or grant.charged <= PEAK
            ages[number] += later
        account = made.account
        assert account.left >= 0.0
        assert account.spent <= account.risk * account.requests + 1e-9


# --- the controller


class Served:
    """A controller, and a load that it serves: requests are granted as they begin."""

    def __init__(self) -> None:
        self.records: list[DecisionRecord] = []
        self.controller = Controller(
            POOLED,
            settings=FixedSettings(ControllerSettings()),
            solver=AtOnce(PLANNER),
            sink=self.records.append,
        )
        self.rng, self.now = np.random.default_rng(1), 100.0
        self.gave_up = False

    @property
    def keeper(self) -> RiskKeeper:
        found = self.controller.keeper
        assert found is not None
        return found

    def run(self, seconds: float, *, rate: float, in_system: int) -> None:
        for _ in range(round(seconds / 0.5)):
            for _ in range(int(self.rng.poisson(rate * 0.5))):
                name = str(self.rng.choice(CLASSES))
                self.controller.arrived(name)
                grant = self.keeper.admit(name, "", pays=True)
                got = self.keeper.within(grant, self.controller.limits(name), 0)
                self.keeper.served(grant)
                self.gave_up = self.gave_up or got.give_up is not None
            self.now += 0.5
            self.controller.tick(self.now, in_system)


def test_savings_of_the_calm_are_spent_on_giving_up_too_and_decisions_come_out_the_same_again() -> None:
    served = Served()
    served.run(120.0, rate=0.3 * RATE, in_system=2)
    calm = served.keeper.status(0.0)
    assert calm.left > 0.3
    served.run(20.0, rate=6 * RATE, in_system=120)
    burst = served.keeper.status(0.0)
    assert served.gave_up
    assert (burst.spent - calm.spent) / (burst.requests - calm.requests) > RISK
    assert burst.spent <= RISK * burst.requests
    assert any(limits.give_up is not None for limits in served.controller.status.limits)
    found = replay(POOLED, served.records)
    assert found.decisions > 100
    assert found.same


@settings(deadline=None, max_examples=12)
@given(steps=st.lists(st.tuples(st.floats(0.0, 8.0), st.integers(0, 300), st.floats(0.5, 8.0)), min_size=1, max_size=8))
def test_under_any_load_charges_stay_within_what_was_earned(steps: list[tuple[float, int, float]]) -> None:
    served = Served()
    for load, in_system, seconds in steps:
        served.run(seconds, rate=load * RATE, in_system=in_system)
        account = served.keeper.account
        assert account.spent <= RISK * account.requests + 1e-9
        assert account.left >= 0.0


def test_where_one_corner_counts_for_all_classes_no_class_s_curve_lies_above_it() -> None:
    assert TABLES.charges is not None
    for price in np.geomspace(1e-6, 1e-2, 12):
        for risk_price in (0.0, 0.3, 3.0):
            chosen = choose(TABLES, PLAIN, price=float(price), work_ratio=np.ones(3), risk_price=risk_price)
            assert TABLES.inside()[:, list(chosen)].all(axis=1).any(), "no point's corner has the points of all classes"


def test_the_safe_point_may_give_up_and_never_spends_savings() -> None:
    assert TABLES.charges is not None
    for d, k in enumerate(safe_points(TABLES, RISK)):
        assert TABLES.charges.of[d, k] <= RISK
