"""KV cells as a second resource: against every batch and cutting planes, and at their limits."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from controller.load import Load
from controller.planning.decision import Decision
from controller.planning.joint_program import Optimizer
from controller.planning.memory import MemoryOptimizer, mean_cells
from controller.planning.objective import Objective
from controller.planning.room import Memory
from controller.policies.restricted import with_levers
from controller.risk.account import Allowance
from models.profile.lever import Lever
from models.profile.plant import Plant
from models.profile.profile import Profile
from models.profile.tables import Charges, OperatingTables
from tests.support.analysis_profile import made_profile, still
from tests.support.cutting_planes import best_by_cutting_planes, in_corners, mean_charge, true_value
from tests.support.no_thought_profile import no_thought_profile
from tests.support.random_profiles import random_plant, random_profile, with_cut_offs, with_squares
from tests.support.width_profile import racing_profile


def busy(tables: OperatingTables, plant: Plant, rng: np.random.Generator) -> Load:
    return Load(
        rate=float(plant.capacity / 1500 * 10 ** rng.uniform(-1, 0.7)),
        mix=rng.dirichlet(np.ones(len(tables.classes))),
        work_ratio=rng.uniform(0.5, 2.0, len(tables.classes)),
    )


def test_with_all_levers_it_is_nearly_as_good_as_every_batch_by_cutting_planes() -> None:
    """Tangents miss some of N(D): none of the seeds 1000 to 1125, of which 20 are run, loses more than that.

    The instance of seed 1582, found before, loses .7 points more, for points that are pruned.
    """
    beyond = [lost_beyond_tangents(seed) for seed in (1582, *range(1000, 1020))]
    assert beyond[0] <= 0.01
    assert max(beyond[1:]) <= 2e-3


def test_with_cut_offs_beside_all_others_it_is_nearly_as_good_too() -> None:
    assert max(lost_beyond_tangents(seed, cut_offs=True) for seed in range(2000, 2010)) <= 2e-3


def lost_beyond_tangents(seed: int, *, cut_offs: bool = False) -> float:
    """Returns what an instance loses against the best batch and mixture, less a hundredth of what waiting costs.

    Thresholds, budgets, curves, floors, an account's allowance and cells: none alone decides. `cut_offs`: beside them.
    """
    rng = np.random.default_rng(seed)
    plain, plant = with_squares(random_profile(rng), rng), replace(random_plant(rng), max_batch=int(rng.integers(2, 9)))
    if cut_offs:
        plain = with_cut_offs(plain, rng)
    charges = rng.uniform(0.0, 0.1, plain.tokens.shape)
    charges[:, 0] = 0.0
    tables = replace(plain, charges=Charges(of=charges, own=True))
    objective = Objective(
        latency_weight=float(10 ** rng.uniform(-4, -2)),
        shed_penalty=float(rng.uniform(0.2, 3.0)),
        accuracy_floors=tuple(rng.uniform(0.3, 0.8, len(tables.classes))) if rng.random() < 0.3 else (),
        order_penalty=0.0,
    )
    load = busy(tables, plant, rng)
    allowance = Allowance(charge=float(rng.uniform(0.01, 0.08)), worth=float(rng.choice([0.0, 0.5])))
    memory = Memory(cells=round(10 ** rng.uniform(3.0, 4.3)))
    decision = MemoryOptimizer(tables, objective, clock=still).solve(load, plant, memory=memory, allowance=allowance)
    charge = mean_charge(tables, np.maximum(load.rates, objective.min_rate))

    def worth(x: np.ndarray, batch: int) -> float:
        value = true_value(tables, objective, load, replace(plant, max_batch=batch), x)
        return value - allowance.worth * float(charge @ x.ravel())

    best = -math.inf
    for batch in range(1, plant.max_batch + 1):
        narrower = replace(plant, max_batch=batch)
        x = best_by_cutting_planes(tables, objective, load, narrower, allowance, room=memory.cells / batch)
        best = max(best, worth(x, batch))
    batch = plant.max_batch if decision.batch is None else decision.batch
    mine = np.hstack([decision.shed[:, None], decision.mixture])
    assert held(tables, objective, load, mine) * batch <= memory.cells * (1.0 + 1e-4)
    assert decision.charge <= allowance.charge + 1e-5
    waits = objective.latency_weight * decision.in_system / max(load.rate, objective.min_rate)
    assert best - worth(mine, batch) >= -2e-5
    return float(best - worth(mine, batch) - 0.01 * waits)


def test_where_classes_share_corners_it_is_nearly_as_good_with_cells_too() -> None:
    """48 random instances in which a laxer corner is charged more, and all classes for one."""
    rng, bound, lost = np.random.default_rng(12), 0, []
    for _ in range(16):
        plain, plant = with_squares(random_profile(rng), rng), random_plant(rng)
        inside = plain.inside()
        of = np.array([rng.uniform(0.0, 0.03, len(inside))[row].sum() for row in inside])
        of[of.argmin()] = 0.0
        tables = replace(plain, charges=Charges(of=np.tile(of, (len(plain.classes), 1)), own=False))
        objective = Objective(latency_weight=float(10 ** rng.uniform(-4, -2)), order_penalty=0.0)
        program, (every, corners) = Optimizer(tables, objective, clock=still, memory=True), in_corners(tables)
        for _ in range(3):
            load = busy(tables, plant, rng)
            allowance = Allowance(charge=float(rng.uniform(0.0, 0.08)), worth=float(rng.choice([0.0, 0.5, 3.0])))
            free = mean_cells(tables, load, program.solve(load, plant, allowance=allowance))
            room = float(free * rng.uniform(0.4, 1.0)) or 100.0
            decision = program.solve(load, plant, allowance=allowance, room=room)
            mine = np.hstack([decision.shed[:, None], decision.mixture])
            best = best_by_cutting_planes(every, objective, load, plant, allowance, corners=corners, room=room)
            charge = float(mean_charge(every, np.maximum(load.rates, objective.min_rate)) @ best.ravel())
            worth = true_value(tables, objective, load, plant, mine) - allowance.worth * decision.charge
            lost.append(true_value(every, objective, load, plant, best) - allowance.worth * charge - worth)
            assert held(tables, objective, load, mine) <= room * (1.0 + 1e-4)
            bound += decision.prices.cell > 0.0
    assert min(lost) >= -2e-5
    assert sum(each > 1e-3 for each in lost) <= 2
    assert max(lost) <= 0.05
    assert bound > 40


@pytest.mark.parametrize(
    ("profile", "lever"), [(no_thought_profile(), Lever.NO_THOUGHT), (racing_profile(), Lever.WIDTH)]
)
def test_cells_are_planned_beside_other_levers(profile: Profile, lever: Lever) -> None:
    tables = with_levers(profile, {lever}).tables()
    plain = profile.tables()
    assert tables.square is not None
    assert plain.square is not None
    added = tables.at([k for k, one in enumerate(tables.points) if one.race is not None or one.skip is not None])
    assert len(added.points) > 0
    assert added.square is not None
    spread = plain.square[:, 0] / plain.tokens[:, 0] ** 2
    for k, point in enumerate(added.points):
        if point.race is not None:
            thought = added.tokens[:, k] / point.width  # each of the thoughts holds cells of its own
            assert added.square[:, k] == pytest.approx(spread * thought**2 * point.width)
        elif (point.threshold, point.budget) == (None, None):
            assert added.square[:, k] == pytest.approx(spread * plain.tokens[:, 0] * added.tokens[:, k])
    load = Load(rate=11.0, mix=np.full(3, 1 / 3), work_ratio=np.ones(3))
    program = MemoryOptimizer(tables.alone(), Objective(order_penalty=0.0), clock=still)
    found = program.solve(load, profile.plant_model(), memory=Memory(cells=2000))
    assert found.batch is not None
    assert found.cells is not None
    assert found.batch * found.cells <= 2000.0 * (1.0 + 1e-4)
    assert found.prices.sequence > 0.0


def test_a_lever_without_squares_leaves_no_cells_to_plan() -> None:
    tables = made_profile().tables()
    assert tables.square is not None
    assert tables.joined(tables).square is not None
    assert tables.joined(replace(tables, square=None)).square is None


def held(tables: OperatingTables, objective: Objective, load: Load, x: np.ndarray) -> float:
    """The cells that a running sequence holds on average, where shed requests run for their few tokens, too."""
    rates = np.maximum(load.rates, objective.min_rate)[:, None]
    tokens = np.hstack([np.full((len(rates), 1), tables.shed_tokens), tables.tokens])
    cells = np.hstack([np.zeros((len(rates), 1)), tables.cell_steps(load.work_ratio)])
    steps = float((rates * load.work_ratio[:, None] * tokens * x).sum())
    return float((rates * cells * x).sum()) / steps if steps else 0.0


def made(rate: float) -> tuple[OperatingTables, Plant, Load]:
    profile = made_profile()
    return profile.tables(), profile.plant_model(), Load(rate=rate, mix=np.full(3, 1 / 3), work_ratio=np.ones(3))


def decided(rate: float, memory: Memory | None, objective: Objective | None = None) -> Decision:
    tables, plant, load = made(rate)
    program = MemoryOptimizer(tables, objective or Objective(order_penalty=0.0), clock=still)
    return program.solve(load, plant, memory=memory)


@pytest.mark.parametrize("memory", [None, Memory(cells=100_000), Memory(cells=100_000, extent=700.0)])
def test_what_does_not_bind_decides_bit_for_bit_as_the_joint_program(memory: Memory | None) -> None:
    tables, plant, load = made(11.0)
    plain = Optimizer(tables, Objective(), clock=still).solve(load, plant)
    found = MemoryOptimizer(tables, Objective(), clock=still).solve(load, plant, memory=memory)
    assert found.mixture.tolist() == plain.mixture.tolist()
    assert (found.value, found.demand, found.prices.token) == (plain.value, plain.demand, plain.prices.token)
    assert (found.batch, found.prices.cell) == (None, 0.0)


def test_where_cells_are_short_shorter_thoughts_buy_a_larger_batch() -> None:
    tables, plant, load = made(11.0)
    free = decided(11.0, None)
    short = decided(11.0, Memory(cells=2000))
    held = mean_cells(tables, load, free)
    assert short.batch is not None
    assert short.cells is not None
    assert held * plant.max_batch > 2000
    assert short.cells < held
    assert short.batch > int(2000 / held)
    assert short.prices.cell > 0.0
    assert short.prices.sequence > 0.0
    assert short.value < free.value


def test_the_price_of_a_cell_explains_every_choice() -> None:
    tables, _, load = made(11.0)
    decision = decided(11.0, Memory(cells=2000))
    assert decision.batch is not None
    room, prices = 2000 / decision.batch, decision.prices
    cells = tables.cell_steps(load.work_ratio)
    worth = tables.accuracy - prices.token * tables.tokens - prices.cell * (cells - room * tables.tokens)
    chosen = (decision.mixture * worth).sum(axis=1) / decision.mixture.sum(axis=1)
    assert chosen == pytest.approx(worth.max(axis=1), abs=2e-4)


def test_an_engine_that_reserves_has_room_for_as_many_sequences_whatever_the_points() -> None:
    tables, plant, load = made(6.0)
    found = decided(6.0, Memory(cells=5000, extent=700.0))
    plain = Optimizer(tables, Objective(order_penalty=0.0), clock=still).solve(load, replace(plant, max_batch=7))
    assert found.batch == 7
    assert found.cells == 700.0
    assert found.mixture.tolist() == plain.mixture.tolist()
    assert found.prices.cell > 0.0


def test_a_memory_for_less_than_one_sequence_runs_one() -> None:
    assert Memory(cells=10).batch(8, 100.0) == 1
    with pytest.raises(ValueError, match="cells is 0, must be at least 1"):
        Memory(cells=0)
    with pytest.raises(ValueError, match=r"extent is 0\.0 cells"):
        Memory(cells=10, extent=0.0)


def test_room_is_for_programs_with_memory() -> None:
    tables, plant, load = made(1.0)
    with pytest.raises(ValueError, match="must be above 0, and None to a program without memory"):
        Optimizer(tables, Objective(), clock=still).solve(load, plant, room=100.0)
    with pytest.raises(ValueError, match="square is None"):
        replace(tables, square=None).cell_steps(load.work_ratio)


def test_a_batch_is_kept_for_a_few_solves_and_searched_for_again_where_the_load_is_another() -> None:
    tables, plant, load = made(11.0)
    kept = MemoryOptimizer(tables, Objective(order_penalty=0.0), clock=still)

    def alone(rate: float, cells: int) -> Decision:
        return MemoryOptimizer(tables, Objective(order_penalty=0.0), clock=still).solve(
            replace(load, rate=rate), plant, memory=Memory(cells=cells)
        )

    def again(rate: float, cells: int = 2000) -> Decision:
        return kept.solve(replace(load, rate=rate), plant, memory=Memory(cells=cells))

    first = again(8.0)
    for rate in (8.1, 8.2, 8.3, 8.4):  # the first solve's batch, at what is best with it
        found, best = again(rate), alone(rate, 2000)
        assert found.batch == first.batch
        assert best.value - 5e-3 <= found.value <= best.value + 1e-6
    for rate, cells in ((8.4, 2000), (5.0, 2000), (8.0, 2000), (8.0, 1500)):  # so often kept; another rate; memory
        found, best = again(rate, cells), alone(rate, cells)
        assert (found.batch, found.cells) == (best.batch, pytest.approx(best.cells, rel=1e-4))
        assert found.value == pytest.approx(best.value, abs=1e-6)
    plain = Optimizer(tables, Objective(order_penalty=0.0), clock=still).solve(replace(load, rate=0.1), plant)
    roomy = [again(11.0, 100_000), again(0.1, 100_000)]  # cells are not short any more
    assert [one.batch for one in roomy] == [None, None]
    assert roomy[1].mixture.tolist() == plain.mixture.tolist()
