"""What an account of risk allows, in the joint program: against cutting planes, and what its price means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from controller.load import Load
from controller.planning.columns import Columns, hull_points
from controller.planning.joint_program import Optimizer
from controller.planning.objective import Objective
from controller.risk.account import Allowance
from models.profile.harm import OWN_BOUNDS
from models.profile.tables import Charges
from tests.support.account_profile import account_profile
from tests.support.analysis_profile import still
from tests.support.cutting_planes import best_by_cutting_planes, in_corners, least_charge, mean_charge, true_value
from tests.support.random_profiles import random_plant, random_profile


@pytest.mark.slow
def test_under_an_account_it_is_as_good_as_cutting_planes_and_keeps_to_the_allowance() -> None:
    """100 random instances: charges of any shape, allowances that bind and that do not, kept risk of any worth."""
    rng, bound = np.random.default_rng(11), 0
    for _ in range(25):
        plain, plant = random_profile(rng), random_plant(rng)
        charges = rng.uniform(0.0, 0.1, plain.tokens.shape)
        charges[:, 0] = 0.0  # the full thought
        tables = replace(plain, charges=Charges(of=charges, own=True))
        objective = Objective(latency_weight=float(10 ** rng.uniform(-4, -2)), order_penalty=0.0)
        program = Optimizer(tables, objective, clock=still)
        for _ in range(4):
            load = Load(
                rate=float(plant.capacity / 1500 * 10 ** rng.uniform(-2, 1)),
                mix=rng.dirichlet(np.ones(len(tables.classes))),
                work_ratio=rng.uniform(0.5, 2.0, len(tables.classes)),
            )
            allowance = Allowance(charge=float(rng.uniform(0.0, 0.08)), worth=float(rng.choice([0.0, 0.5, 3.0])))
            decision = program.solve(load, plant, allowance=allowance)
            mine = np.hstack([decision.shed[:, None], decision.mixture])
            best = best_by_cutting_planes(tables, objective, load, plant, allowance)
            charge = mean_charge(tables, np.maximum(load.rates, objective.min_rate))
            worths = [
                true_value(tables, objective, load, plant, x) - allowance.worth * float(charge @ x.ravel())
                for x in (best, mine)
            ]
            assert -2e-5 <= worths[0] - worths[1] <= 1e-3
            assert decision.charge == pytest.approx(float(charge @ mine.ravel()), abs=1e-6)
            assert decision.charge <= allowance.charge + 1e-5
            bound += decision.prices.risk > 1e-3
    assert 10 < bound < 90  # the allowance binds in some, and in others it does not


@pytest.mark.slow
def test_where_classes_share_corners_it_is_nearly_as_good_and_charges_what_the_corners_cost() -> None:
    """100 random instances in which a laxer corner is charged more, as a profile's are, and all classes for one."""
    rng, bound, lost = np.random.default_rng(12), 0, []
    for _ in range(25):
        plain, plant = random_profile(rng), random_plant(rng)
        inside = plain.inside()
        of = np.array([rng.uniform(0.0, 0.03, len(inside))[row].sum() for row in inside])
        of[of.argmin()] = 0.0
        tables = replace(plain, charges=Charges(of=np.tile(of, (len(plain.classes), 1)), own=False))
        objective = Objective(latency_weight=float(10 ** rng.uniform(-4, -2)), order_penalty=0.0)
        program, (every, corners) = Optimizer(tables, objective, clock=still), in_corners(tables)
        for _ in range(4):
            load = Load(
                rate=float(plant.capacity / 1500 * 10 ** rng.uniform(-2, 1)),
                mix=rng.dirichlet(np.ones(len(tables.classes))),
                work_ratio=rng.uniform(0.5, 2.0, len(tables.classes)),
            )
            allowance = Allowance(charge=float(rng.uniform(0.0, 0.08)), worth=float(rng.choice([0.0, 0.5, 3.0])))
            decision = program.solve(load, plant, allowance=allowance)
            rates = np.maximum(load.rates, objective.min_rate)
            mine = np.hstack([decision.shed[:, None], decision.mixture])
            best = best_by_cutting_planes(every, objective, load, plant, allowance, corners=corners)
            charge = float(mean_charge(every, rates) @ best.ravel())
            worths = [
                true_value(every, objective, load, plant, best) - allowance.worth * charge,
                true_value(tables, objective, load, plant, mine) - allowance.worth * decision.charge,
            ]
            lost.append(worths[0] - worths[1])
            assert decision.charge <= allowance.charge + 1e-5
            assert decision.charge >= least_charge(tables, rates, decision.mixture) - 1e-5
            bound += decision.prices.risk > 1e-3
    assert min(lost) >= -2e-5
    assert max(lost) <= 1e-3
    assert 10 < bound < 90


def test_a_plan_shares_its_time_between_a_dozen_corners_at_most() -> None:
    for tables in (account_profile(1000).tables(), account_profile(1000, curves=True).tables()):
        columns = Columns.of(tables)
        assert 1 < len(columns.corners) <= 12
        assert len(columns.point) < 150


def test_the_price_of_risk_is_what_a_little_more_of_it_brings() -> None:
    tables = account_profile(OWN_BOUNDS).tables()
    plant, load = (
        account_profile(OWN_BOUNDS).plant_model(),
        Load(rate=14.0, mix=np.full(3, 1 / 3), work_ratio=np.ones(3)),
    )
    program = Optimizer(tables, Objective(latency_weight=0.02, order_penalty=0.0), clock=still)
    at, more = (program.solve(load, plant, allowance=Allowance(charge=c, worth=0.0)) for c in (0.02, 0.0205))
    assert at.charge == pytest.approx(0.02, abs=1e-5)
    assert at.prices.risk > 0.0
    assert (more.value - at.value) / 0.0005 == pytest.approx(at.prices.risk, rel=0.1)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None, max_examples=25)
def test_points_worth_mixing_cover_all_others_and_none_of_them_is_covered(seed: int, stepped: bool) -> None:
    """A point is covered by a mixture with as few tokens, as small a charge and as many right answers, or better."""
    rng = np.random.default_rng(seed)
    plain = random_profile(rng)
    charges = rng.uniform(0.0, 0.1, plain.tokens.shape)
    tables = replace(plain, charges=Charges(of=np.round(charges, 2) if stepped else charges, own=True))
    assert tables.charges is not None
    for d in range(len(tables.classes)):
        kept = hull_points(tables, d)
        costs = np.array([tables.tokens[d] / tables.tokens.max(), 10.0 * tables.charges.of[d], -tables.accuracy[d]])
        assert (np.diff(tables.tokens[d, kept]) >= 0.0).all()
        for k in range(len(tables.points)):
            assert _covered(costs, k, kept) == (k not in kept)


def _covered(costs: np.ndarray, k: int, by: np.ndarray) -> bool:
    """Whether a mixture of other points costs at most what `k` costs; within 1e-7."""
    others = [j for j in by if j != k]
    if not others:
        return False
    found = linprog(
        np.zeros(len(others)), A_ub=costs[:, others], b_ub=costs[:, k] + 1e-7, A_eq=np.ones((1, len(others))), b_eq=[1]
    )
    return found.status == 0


def test_an_account_leaves_dozens_of_points_even_with_lower_curves() -> None:
    tables = account_profile(1000, curves=True).tables()
    assert len(tables.points) > 100
    assert all(len(hull_points(tables, d)) <= 24 for d in range(len(tables.classes)))
