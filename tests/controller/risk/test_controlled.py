"""The load-aware controller with an account of risk: it saves in calm and spends in a burst, never more than it has."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.controller import Controller
from controller.decision_record import DecisionRecord
from controller.late import LateController
from controller.planning.objective import Objective
from controller.planning.planner import Planner
from controller.policies.definition import certified_at
from controller.policies.load_aware import LoadAware
from controller.policies.restricted import standing, within_risk
from controller.policy import keeper_of
from controller.replay import replay
from controller.selection import choose, safe_points
from controller.settings import ControllerSettings, FixedSettings
from models.profile.harm import OWN_BOUNDS
from models.profile.profile import ProfileError
from models.profile.tables import PointId
from tests.support.account_profile import PEAK, RISK, account_profile
from tests.support.analysis_profile import CLASSES, made_profile
from tests.support.driven_controller import AtOnce

POOLED, OWN = account_profile(1000), account_profile(OWN_BOUNDS)


SOLVERS = {own: AtOnce(Planner((OWN if own else POOLED).tables(), clock=time.perf_counter)) for own in (False, True)}
RATE = POOLED.plant_model().capacity / POOLED.full_thought_tokens  # requests/s of full thoughts


class Served:
    """A controller, and a load that it serves: requests are granted as they begin."""

    def __init__(self, *, own: bool = False) -> None:
        profile = OWN if own else POOLED
        self.records: list[DecisionRecord] = []
        self.controller = Controller(
            profile, settings=FixedSettings(ControllerSettings()), solver=SOLVERS[own], sink=self.records.append
        )
        self.rng, self.now = np.random.default_rng(1), 100.0

    def run(self, seconds: float, *, rate: float, in_system: int) -> None:
        keeper = self.controller.keeper
        assert keeper is not None
        for _ in range(round(seconds / 0.5)):
            for _ in range(int(self.rng.poisson(rate * 0.5))):
                name = str(self.rng.choice(CLASSES))
                self.controller.arrived(name)
                grant = keeper.admit(name, "", pays=True)
                keeper.within(grant, self.controller.limits(name), 0)
                keeper.served(grant)
            self.now += 0.5
            self.controller.tick(self.now, in_system)


def test_without_a_peak_above_the_risk_it_is_certified_as_before() -> None:
    profile = made_profile()
    assert certified_at(profile, 0.05, 0.05) == certified_at(profile, 0.05, None) == within_risk(profile, 0.05)
    assert certified_at(profile, None, 0.05) == certified_at(profile, None, None) == profile  # its own risk
    controller = Controller(profile, settings=FixedSettings(ControllerSettings()), solver=AtOnce())
    assert keeper_of(controller) is None
    assert controller.status.risk is None


def test_a_peak_below_the_risk_is_refused() -> None:
    with pytest.raises(ValueError, match=r"risk_peak is 0\.01, must be at least the risk, 0\.02"):
        LoadAware(risk=0.02, risk_peak=0.01)
    with pytest.raises(ProfileError, match=r"risk_peak is 0\.01, must be at least the risk, 0\.05"):
        certified_at(made_profile(), None, 0.01)
    with pytest.raises(ValueError, match="risk_peak is 1"):
        LoadAware(risk_peak=1.0)


def test_a_risk_that_the_profile_is_too_small_for_is_refused_with_a_peak_as_without() -> None:
    said = r"risk is 0\.0001, for which the profile is too small: .* at least \d+"
    for peak in (None, PEAK):
        with pytest.raises(ProfileError, match=said):
            certified_at(made_profile(), 0.0001, peak)


def test_every_point_that_may_be_handed_out_keeps_the_peak_by_bounds_that_hold_at_once() -> None:
    for profile in (POOLED, OWN):
        charges = profile.tables().charges
        assert charges is not None
        assert charges.of.max() <= PEAK
        assert charges.of.max() > RISK
        assert standing(profile).tables().points == tuple(
            point for point, most in zip(profile.points(), charges.of.max(axis=0).tolist(), strict=True) if most <= RISK
        )


@pytest.mark.parametrize("own", [False, True])
def test_what_calm_saves_is_spent_in_a_burst_and_no_more(own: bool) -> None:
    served = Served(own=own)
    account = served.controller.keeper
    assert account is not None
    served.run(300.0, rate=0.3 * RATE, in_system=2)
    calm = account.status(0.0)
    assert calm.left > 1.0
    strictest = [limits.threshold or 2.0 for limits in served.controller.status.limits]
    served.run(4.0, rate=6 * RATE, in_system=120)
    burst = account.status(0.0)
    assert max(limits.threshold or 2.0 for limits in served.controller.status.limits) < min(strictest)
    assert (burst.spent - calm.spent) / (burst.requests - calm.requests) > 1.5 * RISK
    served.run(120.0, rate=6 * RATE, in_system=120)
    spent = account.status(0.0)
    assert spent.left < 0.2 * calm.left
    assert spent.spent <= RISK * spent.requests
    assert spent.refused > 0
    state = served.controller.status
    assert state.risk is not None
    assert state.decision is not None
    assert state.risk.price >= account.worth > 0.8
    assert state.decision.charge <= RISK + account.allowance(6 * RATE).charge


def test_decisions_with_an_account_come_out_the_same_again() -> None:
    served = Served()
    served.run(20.0, rate=0.3 * RATE, in_system=2)
    served.run(20.0, rate=4 * RATE, in_system=60)
    assert any(record.risk_price > 0.0 for record in served.records)
    found = replay(POOLED, served.records)
    assert found.decisions > 40
    assert found.same


def test_a_log_of_another_risk_tells_the_decisions_on_points_that_this_one_has_not() -> None:
    served = Served()
    served.run(5.0, rate=0.3 * RATE, in_system=2)
    there = (PointId(len(POOLED.tables().points)),) * len(CLASSES)
    beyond = replace(served.records[3].held, target=there, points=there)
    served.records[4] = replace(served.records[4], before=beyond)
    assert [one.number for one in replay(POOLED, served.records).changed] == [5]


@given(price=st.floats(1e-6, 1e-2), risk_price=st.floats(0.0, 3.0), less=st.floats(0.0, 1e-6))
def test_a_small_step_of_the_price_of_risk_moves_no_shared_corner(price: float, risk_price: float, less: float) -> None:
    tables, objective = POOLED.tables(), Objective(stickiness=1e-4)
    before = choose(tables, objective, price=price, work_ratio=np.ones(3), risk_price=risk_price)
    for changed in (risk_price + less, max(0.0, risk_price - less)):
        held = choose(tables, objective, price=price, work_ratio=np.ones(3), risk_price=changed, before=before)
        assert held == before


def test_another_shared_corner_is_taken_once_it_gains_the_stickiness() -> None:
    tables = POOLED.tables()
    assert tables.charges is not None

    def at(risk_price: float, stickiness: float, before: tuple[PointId, ...] | None) -> tuple[PointId, ...]:
        objective = Objective(stickiness=stickiness)
        return choose(tables, objective, price=1e-3, work_ratio=np.ones(3), risk_price=risk_price, before=before)

    cheap, dear = at(0.0, 0.0, None), at(30.0, 0.0, None)
    assert cheap != dear
    assert at(30.0, 1e-4, cheap) == dear
    assert at(30.0, 10.0, cheap) == cheap
    last: dict[float, tuple[PointId, ...] | None] = {0.0: None, 1e-2: None}
    moved = dict.fromkeys(last, 0)
    for risk_price in np.linspace(0.0, 3.0, 400) + np.tile([0.0, 0.02], 200):  # rising, with a quiver
        for sticky, before in last.items():
            last[sticky] = at(float(risk_price), sticky, before)
            moved[sticky] += before is not None and last[sticky] != before
    assert moved[1e-2] < moved[0.0]


@settings(deadline=None, max_examples=40)
@given(
    price=st.floats(0.0, 1e-2),
    risk_price=st.floats(0.0, 30.0),
    d=st.integers(0, 2),
    place=st.floats(0.0, 1.0),
    mix=st.sampled_from([(1.0, 1.0, 1.0), (0.2, 0.7, 0.1)]),
)
def test_no_price_of_risk_has_an_slo_or_a_floor_ignored_that_some_point_keeps(
    price: float, risk_price: float, d: int, place: float, mix: tuple[float, ...]
) -> None:
    tables = POOLED.tables()
    assert tables.p95_steps is not None
    ratio, before = np.array([1.2, 0.9, 1.0]), (PointId(0),) * len(CLASSES)

    def at(floor: float, steps: float) -> PointId:
        floors, slo = np.zeros(3), np.full(3, np.inf)
        floors[d], slo[d] = floor, steps
        objective = Objective(accuracy_floors=tuple(floors.tolist()), stickiness=10.0)
        return choose(
            tables, objective, price=price, work_ratio=ratio, risk_price=risk_price, before=before, mix=np.array(mix),
            steps=tuple(slo.tolist()),
        )[d]  # fmt: skip

    took = ratio[d] * tables.p95_steps[d]
    steps = float(np.quantile(took, place))
    assert took[at(0.0, steps)] <= steps
    floor = float(np.quantile(tables.accuracy[d], place))
    assert tables.accuracy[d, at(floor, np.inf)] >= floor
    both = at(floor, steps)  # the floor goes first
    assert tables.accuracy[d, both] >= floor
    assert took[both] <= steps or not ((tables.accuracy[d] >= floor) & (took <= steps)).any()


def test_what_stands_in_never_spends_savings() -> None:
    tables = POOLED.tables()
    assert tables.charges is not None
    for d, k in enumerate(safe_points(tables, RISK)):
        assert tables.charges.of[d, k] <= RISK


def test_before_the_controller_is_made_nobody_pays_and_nobody_meets_more_than_the_average() -> None:
    late = LateController(POOLED, lambda: Served().controller, start=lambda work: None)
    keeper = keeper_of(late)
    assert keeper is not None
    grant = keeper.admit("hard", "", pays=True)
    got = keeper.within(grant, late.limits("hard"), 100)
    assert got in [late.limits(name) for name in CLASSES]
    late._work()
    assert late.controller is not None
    assert late.controller.keeper is not None
    assert keeper.within(grant, late.limits("hard"), 100) == got  # to its end
    keeper.void(grant)
    assert late.controller.keeper.account.requests == 0
    keeper.admit("hard", "", pays=True)
    assert late.controller.keeper.account.requests == 1


@settings(deadline=None, max_examples=25)
@given(
    own=st.booleans(),
    steps=st.lists(st.tuples(st.floats(0.0, 8.0), st.integers(0, 300), st.floats(0.5, 10.0)), min_size=1, max_size=12),
)
def test_under_any_load_limits_stay_within_the_peak_and_charges_within_what_was_earned(
    own: bool, steps: list[tuple[float, int, float]]
) -> None:
    served = Served(own=own)
    keeper = served.controller.keeper
    assert keeper is not None
    allowed = set(served.controller.certified)
    for load, in_system, seconds in steps:
        served.run(seconds, rate=load * RATE, in_system=in_system)
        account = keeper.account
        assert account.spent <= RISK * account.requests + 1e-9
        assert account.left >= 0.0
        for limits in served.controller.status.limits:
            assert any((point.threshold, point.budget) == (limits.threshold, limits.budget) for point in allowed)
