"""Times the joint optimiser under random loads: re-solving a compiled program, and building it anew each time.

The two other ways to decide, price bisection and the policy map, are timed too. `--compare` times each lever of the
optimiser against the plain program instead.

Times are wall clock, since a decision is late by wall clock; with `--compare --cpu` they are CPU time. Other work on
the machine slows them, so the machine's load average is printed too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.support import report
from controller.load import Load
from controller.planning.bisection import decide
from controller.planning.decision import Decision
from controller.planning.joint_program import Optimizer
from controller.planning.memory import MemoryOptimizer
from controller.planning.objective import Objective
from controller.planning.plan import enough_rows
from controller.planning.policy_map import PolicyMapper
from controller.planning.room import Memory
from controller.risk.account import Allowance
from models.profile.give_up import LADDER, GiveUpCurve
from models.profile.plant import Plant, StepTime
from models.profile.tables import Charges, OperatingPoint, OperatingTables
from models.profile.width import RaceRule

CELLS = 6000  # of KV cache, that bind under most of the random loads
AT_MOST = {"median_ms": 5.0, "p99_ms": 15.0}  # of a re-solve, on an idle machine
LONGEST = 4096  # tokens of a full thought
RACES = tuple(RaceRule(width=width, vote=True) for width in (3, 4, 5))


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedLever:
    """What `--compare` adds to the plain program."""

    name: str
    curves: Sequence[GiveUpCurve] = ()
    races: Sequence[RaceRule] = ()
    account: bool = False  # whether points charge an account of risk
    memory: bool = False  # whether cells are planned


LEVERS = (
    SolvedLever(name="nothing"),
    SolvedLever(name="giving up", curves=LADDER),
    SolvedLever(name="width", races=RACES),
    SolvedLever(name="account of risk", account=True),
    SolvedLever(name="cells", memory=True),
    SolvedLever(name="width and cells", races=RACES, memory=True),
    SolvedLever(name="all", curves=LADDER, races=RACES, account=True, memory=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Times of one way to solve: wall clock, or CPU time where it was asked for."""

    solves: int
    median_ms: float
    p99_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverResult:
    """Times of re-solving a compiled program, of building it anew for each load, and of the other ways to decide."""

    resolve: Times
    rebuild: Times
    price_bisection: Times
    policy_map: Times
    second_solver: int  # re-solves in which the first solver failed


def saturating_profile(curves: Sequence[GiveUpCurve] = ()) -> OperatingTables:
    """Returns 3 classes of 25 points whose accuracy saturates with the thought's tokens, later for harder classes.

    Each of `curves` adds as many points: the higher it is, the fewer tokens and right answers, of harder classes first.
    """
    settings = [(theta, budget) for theta in (0.6, 0.7, 0.8, 0.9, 0.97) for budget in (256, 512, 1024, 2048, 4096)]
    tokens, accuracy = [], []
    for natural, best in ((500, 0.97), (1200, 0.88), (2600, 0.70)):
        thought = np.array([min(budget, natural * (0.25 + 2.0 * max(theta - 0.6, 0.0))) for theta, budget in settings])
        tokens.append(60 + thought)
        accuracy.append(best * (1.0 - np.exp(-3.0 * thought / natural)))
    saved = np.array([0.02, 0.05, 0.1])[:, None]
    rungs = range(1 + len(curves))
    return OperatingTables(
        classes=("easy", "medium", "hard"),
        points=tuple(
            OperatingPoint(threshold=theta, budget=budget, give_up=curve)
            for curve in (None, *curves)
            for theta, budget in settings
        ),
        tokens=np.hstack([np.array(tokens) * (1.0 - saved * rung) for rung in rungs]),
        accuracy=np.hstack([np.array(accuracy) * (1.0 - 0.04 * saved * rung**1.5) for rung in rungs]),
        shed_tokens=5.0,
        medians=(500.0, 1200.0, 2600.0) if curves else None,
    )


def with_races(tables: OperatingTables, races: Sequence[RaceRule]) -> OperatingTables:
    """Returns the tables with races of their longest thoughts behind them, of which wider ones win more."""
    longest = tables.tokens.argmax(axis=1)
    classes, widths = np.arange(len(longest)), np.array([rule.width for rule in races])
    added = OperatingTables(
        classes=tables.classes,
        points=tuple(OperatingPoint(threshold=None, budget=None, race=rule) for rule in races),
        tokens=tables.tokens[classes, longest][:, None] * widths,
        accuracy=np.minimum(1.0, tables.accuracy[classes, longest][:, None] + 0.01 * (widths - 1.0)),
        longest=LONGEST,
    )
    return replace(tables, longest=LONGEST).joined(added)


def charged(tables: OperatingTables) -> OperatingTables:
    """Returns the tables with charges of an account of risk: the laxer a point, the more, up to 15 %."""
    budget = np.log2(tables.budgets.max() / tables.budgets)
    risk = 0.2 * np.maximum(0.0, 1.0 - tables.thresholds) + 0.005 * budget + 0.01 * tables.levels
    return replace(tables, charges=Charges(of=np.tile(risk, (len(tables.classes), 1)), own=False))


def with_cells(tables: OperatingTables) -> OperatingTables:
    """Returns the tables of requests whose cells are known: lengths spread as exponential ones do, prompts of 100."""
    return replace(tables, square=2.0 * tables.tokens**2, prompt=100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSolves:
    """Solves with a lever and without, one after the other for each load, so that other work slows both alike."""

    lever: str
    resolve_ms: tuple[float, float]  # median without and with
    resolve_p99_ms: tuple[float, float]
    map_ms: tuple[float, float]
    map_p99_ms: tuple[float, float]


def compared(
    *,
    solves: int,
    seed: int,
    walk: bool = False,
    clock: Callable[[], float] = time.perf_counter,
    only: str | None = None,
) -> list[ComparedSolves]:
    """Times each lever of the optimiser, and all of them, against the plain program in one run."""
    return [_compared(lever, solves, seed, walk, clock) for lever in LEVERS if only in (None, lever.name)]


def _compared(lever: SolvedLever, solves: int, seed: int, walk: bool, clock: Callable[[], float]) -> ComparedSolves:
    objective, rng = Objective(), np.random.default_rng(seed)
    plant = Plant(step_time=StepTime(a=0.010, c=0.0005), max_batch=16)
    plain = saturating_profile()
    full = saturating_profile(lever.curves)
    if lever.races:
        full = with_races(full, lever.races)
    full = with_cells(charged(full) if lever.account else full)
    programs = [MemoryOptimizer(tables, objective, clock=clock) for tables in (plain, full)]
    mappers = [PolicyMapper(tables, objective, clock=clock) for tables in (plain, full)]
    previous: list[Decision | None] = [None, None]
    times: list[list[list[float]]] = [[[], []], [[], []]]  # [re-solve, map][without, with]
    loads = (walking_loads if walk else random_loads)(
        rng, solves + 20, highest=4.0
    )  # the first ones compile, and tell the tangents
    for number, load in enumerate(loads):
        if walk:  # as the estimate of the step time moves
            slower = float(np.exp(rng.normal(0.0, 0.02)))
            plant = replace(plant, step_time=StepTime(a=0.010 * slower, c=0.0005 * slower))
        allowance = Allowance(charge=rng.uniform(0.02, 0.1), worth=rng.uniform(0.0, 1.0)) if lever.account else None
        for k in (0, 1):
            started = clock()
            decision = programs[k].solve(
                load, plant, previous=previous[k], elapsed_s=5.0, allowance=allowance if k else None,
                memory=Memory(cells=CELLS) if k and lever.memory else None,
            )  # fmt: skip
            took, previous[k] = clock() - started, decision
            if number < 20:
                continue
            times[0][k].append(took)
            if number % 5 == 0:
                narrower = replace(plant, max_batch=decision.batch or plant.max_batch)
                times[1][k].append(mappers[k].solve(load, narrower, allowance if k else None).solve_s)
    ms = [[_times(each) for each in both] for both in times]
    return ComparedSolves(
        lever=lever.name,
        resolve_ms=(ms[0][0].median_ms, ms[0][1].median_ms),
        resolve_p99_ms=(ms[0][0].p99_ms, ms[0][1].p99_ms),
        map_ms=(ms[1][0].median_ms, ms[1][1].median_ms),
        map_p99_ms=(ms[1][0].p99_ms, ms[1][1].p99_ms),
    )


def random_loads(rng: np.random.Generator, count: int, highest: float) -> list[Load]:
    """Draws loads from `highest` / 50 to `highest` requests/s, with random mixes and work ratios."""
    return [
        Load(
            rate=float(highest * rng.uniform(0.02, 1.0)),
            mix=rng.dirichlet([3.0, 3.0, 3.0]),
            work_ratio=rng.uniform(0.7, 1.4, 3),
        )
        for _ in range(count)
    ]


def walking_loads(rng: np.random.Generator, count: int, highest: float) -> list[Load]:
    """Draws loads of which each is like the one before, as a controller's are: rates by some 10 %, mixes by some 5."""
    rate, mix, ratio, found = highest / 4.0, np.full(3, 1.0 / 3.0), np.ones(3), []
    for _ in range(count):
        rate = float(np.clip(rate * np.exp(rng.normal(0.0, 0.1)), highest / 50.0, highest))
        mix = 0.95 * mix + 0.05 * rng.dirichlet([3.0, 3.0, 3.0])
        ratio = np.clip(ratio * np.exp(rng.normal(0.0, 0.02, 3)), 0.7, 1.4)
        found.append(Load(rate=rate, mix=mix, work_ratio=ratio))
    return found


def measure(
    *, solves: int, rebuilds: int, seed: int, curves: Sequence[GiveUpCurve] = (), account: bool = False, batch: int = 16
) -> SolverResult:
    """Times all ways to decide on random loads; re-solves are tied to the previous decision by the rate limit.

    `curves`: below which the profile's points give thoughts up, besides those that give none up. `account`: each point
    charges an account of risk, whose allowance changes with the load. `batch`: the most requests at once, for which the
    policy map has enough rows.
    """
    profile, objective = saturating_profile(curves), Objective()
    profile = charged(profile) if account else profile
    plant = Plant(step_time=StepTime(a=0.010, c=0.0005), max_batch=batch)
    rng = np.random.default_rng(seed)
    loads = random_loads(rng, solves, highest=4.0)
    allowances = [
        Allowance(charge=rng.uniform(0.02, 0.1), worth=rng.uniform(0.0, 1.0)) if account else None for _ in loads
    ]
    program = Optimizer(profile, objective, clock=time.perf_counter)
    decision: Decision | None = program.solve(loads[0], plant)  # the first solve compiles
    resolved, seconds = [], 0
    for load, allowance in zip(loads, allowances, strict=True):
        started = time.perf_counter()
        decision = program.solve(load, plant, previous=decision, elapsed_s=5.0, allowance=allowance)
        resolved.append(time.perf_counter() - started)
        seconds += decision.solver != "CLARABEL"
    rebuilt = []
    for load in loads[:rebuilds]:
        started = time.perf_counter()
        Optimizer(profile, objective, clock=time.perf_counter).solve(load, plant)
        rebuilt.append(time.perf_counter() - started)
    bisected = []
    for load in loads[:rebuilds]:
        started = time.perf_counter()
        decide(profile, objective, load, plant)
        bisected.append(time.perf_counter() - started)
    mapper = PolicyMapper(profile, objective, rows=enough_rows(64, batch), clock=time.perf_counter)
    mapper.solve(loads[0], plant)
    return SolverResult(
        resolve=_times(resolved),
        rebuild=_times(rebuilt),
        price_bisection=_times(bisected),
        policy_map=_times([mapper.solve(load, plant).solve_s for load in loads[:rebuilds]]),
        second_solver=seconds,
    )


def _times(seconds: Sequence[float]) -> Times:
    ms = 1e3 * np.asarray(seconds)
    return Times(
        solves=len(ms), median_ms=float(np.median(ms)), p99_ms=float(np.quantile(ms, 0.99)), worst_ms=float(ms.max())
    )


def _change(both: tuple[float, float]) -> str:
    return f"{both[0]:.2f} -> {both[1]:.2f} (x {both[1] / both[0]:.2f})"


def main() -> None:
    """Command line: measure, print the table, and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.solver", description=__doc__)
    parser.add_argument("--solves", type=int, default=2000, help="random loads to re-solve for")
    parser.add_argument("--rebuilds", type=int, default=100, help="of them also decided in the other ways")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--give-up", action="store_true", help="with points at which hopeless thoughts are given up")
    parser.add_argument("--batch", type=int, default=16, help="the most requests at once")
    parser.add_argument("--account", action="store_true", help="with an account of risk")
    parser.add_argument("--compare", action="store_true", help="each lever against the plain program, in one run")
    parser.add_argument("--cpu", action="store_true", help="with --compare: CPU times instead of wall clock")
    parser.add_argument("--lever", choices=[lever.name for lever in LEVERS], help="with --compare: this one alone")
    parser.add_argument(
        "--walk", action="store_true", help="with --compare: each load is like the one before, and the step time moves"
    )
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    ran = report.circumstances("benchmarks.solver", options.seed)
    if options.compare:
        print(f"load average {ran.load_average[0]:.1f} on {ran.cores} cores; medians and p99, ms, without -> with")
        found = compared(
            solves=options.solves,
            seed=options.seed,
            walk=options.walk,
            clock=time.process_time if options.cpu else time.perf_counter,
            only=options.lever,
        )
        for one in found:
            print(
                f"{one.lever:16} re-solve {_change(one.resolve_ms)}, p99 {_change(one.resolve_p99_ms)}; "
                f"map {_change(one.map_ms)}, p99 {_change(one.map_p99_ms)}"
            )
        if options.out is not None:
            report.write(options.out, ran, {one.lever: asdict(one) for one in found})
        return
    curves = LADDER if options.give_up else ()
    result = measure(
        solves=options.solves,
        rebuilds=options.rebuilds,
        seed=options.seed,
        curves=curves,
        account=options.account,
        batch=options.batch,
    )
    print(f"load average {ran.load_average[0]:.1f} on {ran.cores} cores")
    for name, times in (
        ("re-solve", result.resolve),
        ("rebuild", result.rebuild),
        ("price bisection", result.price_bisection),
        ("policy map", result.policy_map),
    ):
        print(
            f"{name:15} {times.solves:5d} solves  median {times.median_ms:6.2f} ms  p99 {times.p99_ms:6.2f} ms  "
            f"worst {times.worst_ms:6.2f} ms"
        )
    print(f"second solver {result.second_solver} times")
    for name, limit in AT_MOST.items():
        print(f"{name}: {'ok' if getattr(result.resolve, name) < limit else 'MISSED'}, must be below {limit} ms")
    if options.out is not None:
        report.write(options.out, ran, asdict(result))


if __name__ == "__main__":
    main()
