"""The policy map under an account of risk: against linear programs over all levels of all corners."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from controller.load import Load
from controller.planning.ladder import ChargedLadders, extreme, ladder
from controller.planning.objective import Objective
from controller.planning.policy_map import PolicyMapper
from controller.risk.account import Allowance
from models.profile.harm import OWN_BOUNDS
from models.profile.plant import Plant
from models.profile.tables import Charges, OperatingTables
from tests.support.account_profile import account_profile
from tests.support.analysis_profile import still
from tests.support.random_profiles import random_plant, random_profile

ROWS = 12


def charged(rng: np.random.Generator, *, own: bool) -> OperatingTables:
    """Random tables in which a laxer corner is never charged less, as a profile's are; the first charges nothing."""
    plain = random_profile(rng)
    inside = plain.inside()
    of = np.array([[rng.uniform(0.0, 0.03, len(inside))[row].sum() for row in inside] for _ in plain.classes])
    of[:, int(of[0].argmin())] = 0.0
    return replace(plain, charges=Charges(of=of if own else np.tile(of[0], (len(of), 1)), own=own))


def every_level(tables: OperatingTables, load: Load, *, own: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, accuracy and charge of a mean request at each choice of points by class."""
    assert tables.charges is not None
    places = np.array(np.meshgrid(*[range(len(tables.points))] * len(tables.classes))).reshape(len(tables.classes), -1)
    classes = np.arange(len(tables.classes))[:, None]
    tokens = load.mix @ (load.work_ratio[:, None] * tables.tokens)[classes, places]
    accuracy = load.mix @ tables.accuracy[classes, places]
    if own:
        return tokens, accuracy, load.mix @ tables.charges.of[classes, places]
    inside = tables.inside()  # [corner, point]
    covers = inside[:, places].all(axis=1)  # [corner, choice]
    charge = np.where(covers, tables.charges.of[0][:, None], np.inf).min(axis=0)
    some = np.isfinite(charge)
    return tokens[some], accuracy[some], charge[some]


def best_by_program(
    tables: OperatingTables, objective: Objective, load: Load, plant: Plant, allowance: Allowance, *, own: bool
) -> float:
    """The optimum over the shares of time of all rows and levels."""
    tokens, accuracy, charge = every_level(tables, load, own=own)
    kept = extreme(np.stack([tokens, charge, -accuracy], axis=1))
    tokens, accuracy, charge = tokens[kept], accuracy[kept], charge[kept]
    n = np.arange(1.0, ROWS + 1.0)
    service = np.array([plant.rate(int(here)) for here in n])[:, None] / load.rate / tokens
    reward = service * (accuracy - allowance.worth * charge) - (objective.latency_weight / load.rate * n)[:, None]
    reward[-1] -= objective.shed_penalty
    levels = len(tokens)
    equations = np.zeros((ROWS + 1, 1 + ROWS * levels))
    equations[0] = 1.0
    for row in range(ROWS):  # arrivals into row + 1 are the ends there
        equations[1 + row, 1 + row * levels : 1 + (row + 1) * levels] = service[row]
        before = slice(0, 1) if row == 0 else slice(1 + (row - 1) * levels, 1 + row * levels)
        equations[1 + row, before] -= 1.0
    found = linprog(
        np.concatenate([[0.0], -reward.ravel()]),
        A_ub=np.concatenate([[0.0], (service * charge).ravel()])[None],
        b_ub=[allowance.charge],
        A_eq=equations,
        b_eq=np.concatenate([[1.0], np.zeros(ROWS)]),
    )
    assert found.success
    return -float(found.fun)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None, max_examples=20)
def test_it_is_as_good_as_the_program_over_all_points_and_keeps_to_the_allowance(seed: int, own: bool) -> None:
    rng = np.random.default_rng(seed)
    tables, plant = charged(rng, own=own), random_plant(rng)
    objective = Objective(latency_weight=float(10 ** rng.uniform(-4, -2)), shed_penalty=float(rng.uniform(0.2, 2.0)))
    load = Load(
        rate=float(plant.capacity / 1500 * 10 ** rng.uniform(-1.5, 0.5)),
        mix=rng.dirichlet(np.ones(len(tables.classes))),
        work_ratio=rng.uniform(0.5, 2.0, len(tables.classes)),
    )
    allowance = Allowance(charge=float(rng.uniform(0.002, 0.06)), worth=float(rng.choice([0.0, 0.5, 3.0])))
    table = PolicyMapper(tables, objective, rows=ROWS, clock=still).solve(load, plant, allowance)
    best = best_by_program(tables, objective, load, plant, allowance, own=own)
    assert table.value == pytest.approx(best, abs=2e-3 if not own else 1e-4)
    assert table.charge <= allowance.charge + 1e-9
    assert table.risk_price >= allowance.worth


def test_what_binds_nothing_and_costs_nothing_decides_as_without_an_account() -> None:
    tables = account_profile(OWN_BOUNDS).tables()
    plant = account_profile(OWN_BOUNDS).plant_model()
    load = Load(rate=12.0, mix=np.full(3, 1 / 3), work_ratio=np.ones(3))
    mapper = PolicyMapper(tables, Objective(latency_weight=0.01), clock=still)
    plain, free = mapper.solve(load, plant), mapper.solve(load, plant, Allowance(charge=1.0, worth=0.0))
    assert free.value == pytest.approx(plain.value, abs=1e-6)
    assert free.price == pytest.approx(plain.price, rel=1e-4)
    assert free.points.tolist() == plain.points.tolist()
    assert free.risk_price == 0.0


def test_the_price_of_risk_is_what_a_little_more_of_it_brings() -> None:
    tables = account_profile(OWN_BOUNDS).tables()
    plant = account_profile(OWN_BOUNDS).plant_model()
    load = Load(rate=14.0, mix=np.full(3, 1 / 3), work_ratio=np.ones(3))
    mapper = PolicyMapper(tables, Objective(latency_weight=0.02), clock=still)
    at, more = (mapper.solve(load, plant, Allowance(charge=c, worth=0.0)) for c in (0.02, 0.0202))
    assert at.risk_price > 0.0
    assert (more.value - at.value) / 0.0002 == pytest.approx(at.risk_price, rel=0.15)


def test_the_scarcer_risk_is_the_dearer_it_is_and_the_less_is_charged() -> None:
    profile = account_profile(1000)
    tables, plant = profile.tables(), profile.plant_model()
    load = Load(rate=14.0, mix=np.full(3, 1 / 3), work_ratio=np.ones(3))
    mapper = PolicyMapper(tables, Objective(latency_weight=0.02), clock=still)
    found = [mapper.solve(load, plant, Allowance(charge=charge, worth=0.1)) for charge in (0.1, 0.05, 0.03, 0.02, 0.01)]
    assert np.all(np.diff([one.risk_price for one in found]) >= -1e-9)
    assert np.all(np.diff([one.charge for one in found]) <= 1e-9)
    assert np.all(np.diff([one.value for one in found]) <= 1e-9)


def test_levels_with_charges_are_those_without_where_risk_costs_nothing() -> None:
    tables = account_profile(OWN_BOUNDS).tables()
    load = Load(rate=1.0, mix=np.array([0.5, 0.3, 0.2]), work_ratio=np.array([0.8, 1.0, 1.2]))
    assert ChargedLadders(tables, load).at(0.0).points.tolist() == ladder(tables, load).points.tolist()
    with pytest.raises(ValueError, match="charges is None"):
        ChargedLadders(replace(tables, charges=None), load)
