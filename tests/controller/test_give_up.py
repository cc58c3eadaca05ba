"""The controller with points at which hopeless thoughts are given up: used under load, within the certificate."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.late import LateController
from controller.planning.objective import Objective
from controller.planning.planner import Planner
from controller.policies.definition import PolicyContext
from controller.policies.load_aware import BudgetsOnly, LoadAware, ThresholdsOnly
from controller.policies.registry import changed
from controller.policies.restricted import with_levers
from controller.policy import FixedPolicy, Limits
from controller.selection import Held, cheapest, choose, limits_at, move
from laser.server.policy_choice import ChosenPolicy
from models.profile.give_up import LADDER, GiveUpLimit
from models.profile.lever import Lever
from models.profile.profile import Profile, ProfileError
from models.profile.tables import PointId, prune_hull
from tests.support.analysis_profile import CLASSES, made_profile
from tests.support.driven_controller import FULL_RATE, AtOnce, Driven
from tests.support.give_up_profile import MEDIANS, giving_up_profile

USED = with_levers(giving_up_profile(harmed=4), {Lever.GIVE_UP})
TABLES = USED.tables()
PLANNER = Planner(TABLES, clock=time.perf_counter)


def test_hulls_stay_dozens_of_points() -> None:
    assert len(TABLES.points) > 60
    assert all(len(prune_hull(*pair)) <= 24 for pair in zip(TABLES.tokens, TABLES.accuracy, strict=True))


def test_each_class_s_curve_counts_in_its_own_medians() -> None:
    points = tuple(PointId(TABLES.points.index(point)) for point in TABLES.points if point.give_up == LADDER[0])[:3]
    limits = limits_at(TABLES, points)
    assert [limit.give_up for limit in limits] == [GiveUpLimit(curve=LADDER[0], median=median) for median in MEDIANS]


def test_under_load_hopeless_thoughts_are_given_up_and_in_calm_they_are_not() -> None:
    driven = Driven(AtOnce(PLANNER), profile=USED)
    driven.run(60.0, rate=0.02 * FULL_RATE, in_system=0)
    assert all(driven.controller.limits(name).give_up is None for name in CLASSES)
    driven.run(120.0, rate=2.5 * FULL_RATE, in_system=60)
    assert any(driven.controller.limits(name).give_up is not None for name in CLASSES)
    assert driven.controller.limits(None) == driven.controller.limits(CLASSES[-1])


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 200), st.integers(1, 12)), min_size=1, max_size=6))
def test_no_load_leads_out_of_the_certified_set(loads: list[tuple[float, int, int]]) -> None:
    driven = Driven(AtOnce(PLANNER), profile=USED)
    for share, in_system, seconds in loads:
        driven.run(float(seconds), rate=share * FULL_RATE, in_system=in_system)  # checks at every tick


@given(st.floats(0.0, 0.05), st.integers(0, 2**32 - 1), st.floats(0.0, 5.0))
def test_on_the_way_to_another_threshold_the_curve_and_budget_are_the_target_s(
    price: float, seed: int, elapsed_s: float
) -> None:
    rng = np.random.default_rng(seed)
    objective = Objective(threshold_rate=0.02)
    start = tuple(PointId(int(k)) for k in rng.integers(len(TABLES.points), size=3))
    before = Held(target=start, threshold_now=tuple(TABLES.thresholds[list(start)].tolist()), points=start)
    target = choose(TABLES, objective, price=price, work_ratio=np.ones(3))
    held = move(TABLES, objective, target=target, before=before, elapsed_s=elapsed_s)
    for wanted, now in zip(held.target, held.points, strict=True):
        a, b = TABLES.points[wanted], TABLES.points[now]
        assert (a.budget, a.give_up) == (b.budget, b.give_up)


def test_until_a_controller_is_made_the_safe_point_may_give_up() -> None:
    late = LateController(USED, lambda: pytest.fail("it is not begun"))
    assert [late.limits(name) for name in CLASSES] == list(limits_at(TABLES, cheapest(TABLES)))


# --- policies


def made(policy: LoadAware, profile: Profile) -> Profile:
    """The profile that a policy's controller gets."""
    found: list[Profile] = []

    class Still:
        def limits(self, difficulty: str | None) -> Limits:
            return Limits()

        def arrived(self, difficulty: str | None) -> None: ...

        def finished(self, difficulty: str | None, tokens: int) -> None: ...

        def stepped(self, batch: int, context: float, seconds: float) -> None: ...

        def tick(self, now: float, in_system: int) -> None: ...

    def controller(usable: Profile) -> Still:
        found.append(usable)
        return Still()

    policy.make(PolicyContext(profile=profile, max_batch=8, controller=controller))
    return found[0]


def test_giving_up_is_off_unless_it_is_asked_for() -> None:
    assert not made(LoadAware(), giving_up_profile()).levers
    assert made(LoadAware(give_up=True), giving_up_profile()).levers
    assert made(LoadAware(give_up=True, risk=0.1), giving_up_profile()).levers


def test_who_asks_for_it_where_there_is_none_is_refused() -> None:
    with pytest.raises(ProfileError, match="the profile has no points at which thoughts are given up"):
        made(LoadAware(give_up=True), made_profile())
    for other in (ThresholdsOnly, BudgetsOnly):
        with pytest.raises(ValueError, match=f"give_up is True, but policy is {other.kind}, which has none"):
            changed(other(), None, {"give_up": True})


def test_who_may_fix_an_exit_may_so_within_the_certificate_that_is_in_use() -> None:
    """Curves take a share of δ, so with them in use fewer thresholds may be certified."""
    profile = giving_up_profile()
    for policy in (LoadAware(), LoadAware(give_up=True)):
        chosen = ChosenPolicy(name="load-aware", policy=FixedPolicy(), profile=profile, settings=policy)
        assert chosen.certifying is not None
        assert bool(chosen.certifying.levers) == policy.give_up
