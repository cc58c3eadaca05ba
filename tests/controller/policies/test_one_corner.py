"""Controllers serve within one certified corner, so what a request meets under any load is certified as a whole."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.controller import Controller
from controller.planning.planner import Planner
from controller.policies.definition import PolicyContext, certified_at
from controller.policies.load_aware import LoadAware
from controller.policies.restricted import with_levers, within_account, within_one_corner
from models.profile.certificate import certify, evidence
from models.profile.lever import Lever
from models.profile.levers.ladder import nested
from models.profile.profile import FILE_NAME, Profile, read_profile
from models.profile.tables import OperatingTables, prune_hull
from models.reasoner import bundled_model
from tests.support.analysis_profile import BUDGETS, CLASSES, THRESHOLDS, made_profile
from tests.support.driven_controller import FULL_RATE, AtOnce, Driven
from tests.support.give_up_profile import giving_up_profile
from tests.support.no_thought_profile import no_thought_profile
from tests.support.price_index_profile import price_index_profile

COUNT = 600


def harmed_along(steps: Collection[tuple[int, int]]) -> np.ndarray:
    """Counts [threshold, budget] of harmed questions: none within one of these corners, half of all beyond."""
    harmed = np.full((len(THRESHOLDS), len(BUDGETS)), COUNT // 2)
    for row, column in steps:
        harmed[: row + 1, : column + 1] = 0
    return harmed


def staircase(steps: Collection[tuple[int, int]]) -> Profile:
    """A profile whose certified range has these corners."""
    made = made_profile()
    return replace(made, certificate=certify(harmed_along(steps), COUNT, epsilon=0.05, delta=0.05))


def laxest(tables: OperatingTables) -> tuple[float, ...]:
    """Returns the join of all points: what somebody may meet who meets each of them."""
    alone = tables.alone()
    price = max(point.price or 0.0 for point in alone.points)
    return (
        float(alone.thresholds.min()), float(alone.budgets.min()), float(alone.levels.max()), price,
        float(alone.skips.min()),
    )  # fmt: skip


def one_of(tables: OperatingTables, join: tuple[float, ...]) -> bool:
    """Whether the join is a point of the tables."""
    points = zip(
        tables.thresholds, tables.budgets, tables.levels, (point.price or 0.0 for point in tables.points), tables.skips,
        strict=True,
    )  # fmt: skip
    return any(tuple(map(float, point)) == join for point in points)


corner = st.tuples(st.integers(0, len(THRESHOLDS) - 1), st.integers(0, len(BUDGETS) - 1))


@given(st.lists(corner, min_size=1, max_size=4))
def test_what_all_points_let_a_thought_meet_together_is_certified(steps: list[tuple[int, int]]) -> None:
    whole = staircase(steps)
    kept = within_one_corner(whole)
    assert one_of(whole.tables(), laxest(kept.tables()))
    assert set(kept.tables().points) <= set(whole.tables().points)
    assert kept.tables().points[0] == whole.tables().points[0]  # the full thought
    if len({step for step in steps if not any(beyond(other, step) for other in steps)}) == 1:
        assert kept == whole  # one corner: nothing to choose


def beyond(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def test_two_points_of_a_staircase_meet_more_than_either() -> None:
    """The fault that this mends: each is certified, what both let a thought meet is not."""
    whole = staircase([(4, 1), (1, 3)])
    assert not one_of(whole.tables(), laxest(whole.tables()))


@pytest.mark.parametrize(("cheap", "dear"), [((4, 1), (1, 3)), ((1, 3), (4, 1))])
def test_the_corner_that_gives_up_least_is_kept(cheap: tuple[int, int], dear: tuple[int, int]) -> None:
    """Where the points of one corner cost nothing more and answer worse, those of the other are kept."""
    whole = staircase([cheap, dear])
    accuracy = np.array(whole.accuracy)
    row, column = dear
    worse = np.ones(accuracy.shape[1:], dtype=np.bool_)
    worse[: cheap[0] + 1, : cheap[1] + 1] = False
    accuracy[:, worse] *= 0.2
    kept = within_one_corner(replace(whole, accuracy=tuple(tuple(map(tuple, one)) for one in accuracy.tolist())))
    assert kept.certificate.certified[cheap[0]][cheap[1]]
    assert not kept.certificate.certified[row][column]


PROFILES = {
    Lever.GIVE_UP: giving_up_profile(harmed=4),
    Lever.NO_THOUGHT: no_thought_profile(harmed=4),
    Lever.PRICE_INDEX: price_index_profile(),
}


def within(steps: list[tuple[int, int, int]], shape: tuple[int, ...]) -> np.ndarray:
    """What lies within one of these corners, which are cut to the shape."""
    mask = np.zeros(shape, dtype=np.bool_)
    for step in steps:
        mask[tuple(slice(0, place + 1) for place in step[: len(shape)])] = True
    return mask


def stairs(lever: Lever, steps: list[tuple[int, int, int]]) -> Profile:
    """A profile whose range with a lever has these corners: level, threshold and budget, or price and budget."""
    made = with_levers(PROFILES[lever], {lever})
    if made.index is not None:
        found = made.index.certificate
        assert found is not None
        mask = within(steps, np.shape(found.certified))
        return replace(made, index=replace(made.index, certificate=replace(found, certified=rows(mask))))
    shape = np.shape((made.give_up or made.no_thought).certified)  # type: ignore[union-attr]
    mask = within(steps, shape)
    made = replace(made, certificate=replace(made.certificate, certified=rows(mask[0])))
    if made.give_up is not None:
        return replace(made, give_up=replace(made.give_up, certified=nested(mask)))
    assert made.no_thought is not None
    return replace(made, no_thought=replace(made.no_thought, certified=nested(mask)))


def rows(mask: np.ndarray) -> tuple[tuple[bool, ...], ...]:
    return tuple(map(tuple, mask.tolist()))


@pytest.mark.parametrize("lever", list(PROFILES))
@given(steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 4)), min_size=2, max_size=4))
def test_so_it_is_with_a_lever(lever: Lever, steps: list[tuple[int, int, int]]) -> None:
    whole = stairs(lever, steps)
    kept = within_one_corner(whole)
    assert one_of(whole.tables(), laxest(kept.tables()))
    assert set(kept.tables().points) <= set(whole.tables().points)


@pytest.mark.parametrize("lever", list(PROFILES))
def test_a_choice_is_made_where_a_lever_s_range_has_several_corners(lever: Lever) -> None:
    whole = stairs(lever, [(1, 4, 0), (3, 1, 3)])
    assert not one_of(whole.tables(), laxest(whole.tables()))
    assert 1 < len(within_one_corner(whole).tables().points) < len(whole.tables().points)


def test_an_index_that_certifies_no_price_leaves_the_full_thought() -> None:
    profile = replace(price_index_profile(count=30), levers=frozenset({Lever.PRICE_INDEX}))
    assert profile.index is not None
    assert profile.index.certificate is None
    assert within_one_corner(profile) is profile


def test_of_lower_curves_and_cut_offs_one_is_kept_since_none_is_certified_for_both() -> None:
    both = replace(giving_up_profile(), no_thought=no_thought_profile(harmed=2).no_thought)
    whole = with_levers(both, {Lever.GIVE_UP, Lever.NO_THOUGHT})
    points = within_one_corner(whole).tables().points
    assert {one.give_up is None for one in points} != {one.skip is None for one in points}
    assert one_of(whole.tables(), laxest(within_one_corner(whole).tables()))


def test_an_account_charges_for_what_may_be_met_and_what_certifies_nothing_has_no_corner() -> None:
    account = within_account(staircase([(4, 1), (1, 3)]), 0.02, 0.1)
    assert within_one_corner(account) is account
    never = evidence(right=6, ended=COUNT, differing=None, count=COUNT, delta=0.05)
    nothing = certify(harmed_along([(4, 1)]), COUNT, epsilon=0.05, delta=0.05, evidence=never)
    refused = replace(made_profile(), certificate=nothing)
    assert refused.refused is not None
    assert within_one_corner(refused) is refused


def test_the_bundled_profile_gives_up_nothing_at_its_own_risk() -> None:
    profile = read_profile(bundled_model() / FILE_NAME)
    for levers in (set(), *({lever} for lever in Lever), {Lever.GIVE_UP, Lever.NO_THOUGHT, Lever.WIDTH}):
        whole = certified_at(profile, None, None, levers=levers)
        used, kept = whole.tables(), within_one_corner(whole).tables()
        for d in range(len(whole.classes)):
            hulls = [[one.points[k] for k in prune_hull(one.tokens[d], one.accuracy[d])] for one in (used, kept)]
            assert hulls[0] == hulls[1]


WHOLE = staircase([(5, 0), (4, 2), (2, 3), (1, 4)])
ONE = within_one_corner(WHOLE)
PLANNER = Planner(ONE.tables(), clock=time.perf_counter)


def made(profile: Profile) -> Driven:
    """Returns the controller that the policy makes, driven by hand."""
    found: list[Driven] = []

    def controller(usable: Profile) -> Controller:
        found.append(Driven(AtOnce(PLANNER), profile=usable))
        return found[0].controller

    LoadAware().make(PolicyContext(profile=profile, max_batch=16, controller=controller))
    return found[0]


@settings(max_examples=15)
@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 200), st.integers(1, 8)), min_size=1, max_size=6))
def test_no_load_leads_a_request_beyond_one_certified_corner(loads: list[tuple[float, int, int]]) -> None:
    driven = made(WHOLE)
    met: set[tuple[float, float]] = set()
    tables = WHOLE.tables()
    for share, in_system, seconds in loads:
        driven.run(float(seconds), rate=share * FULL_RATE, in_system=in_system)
        for name in CLASSES:
            limits = driven.controller.limits(name)
            point = next(p for p in tables.points if (p.threshold, p.budget) == (limits.threshold, limits.budget))
            met.add(tables.numbers(point))
    join = reduce(lambda a, b: (min(a[0], b[0]), min(a[1], b[1])), met)
    assert one_of(tables, (*join, 0.0, 0.0, float(tables.skips.min())))
