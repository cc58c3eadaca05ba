"""The joint program's optimum by other means: linear programs over all points, with tangents of the true plant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import linprog

from controller.load import Load
from controller.planning.objective import Objective
from controller.risk.account import Allowance
from models.profile.plant import Plant
from models.profile.tables import Charges, OperatingTables


def true_value(tables: OperatingTables, objective: Objective, load: Load, plant: Plant, x: np.ndarray) -> float:
    """Correct answers per request of mixtures x [class, shed and points], with the plant itself for waiting."""
    rates = np.maximum(load.rates, objective.min_rate)
    tokens, accuracy = with_shedding(tables, objective)
    demand = float(((rates * load.work_ratio)[:, None] * tokens * x).sum())
    over = max(0.0, demand / plant.capacity - objective.max_load)
    users = plant.in_system(demand) - float((of_rivals(tables, load, rates, plant) * x).sum())
    value = float((rates[:, None] * accuracy * x).sum() - objective.latency_weight * users)
    if objective.accuracy_floors:
        below = np.maximum(0.0, np.array(objective.accuracy_floors) - (accuracy * x).sum(axis=1))
        value -= objective.floor_penalty * float(rates @ below)
    return value / rates.sum() - objective.capacity_penalty * over


def with_shedding(tables: OperatingTables, objective: Objective) -> tuple[np.ndarray, np.ndarray]:
    column = np.ones((len(tables.classes), 1))
    tokens = np.hstack([tables.shed_tokens * column, tables.tokens])
    return tokens, np.hstack([-objective.shed_penalty * column, tables.accuracy])


def of_rivals(tables: OperatingTables, load: Load, rates: np.ndarray, plant: Plant) -> np.ndarray:
    """By how much N counts races for more than they are in the system, of each column [class, shed and points].

    A lone race of w thoughts is there for W/w steps, each of w rows.
    """
    tau = [plant.step_time.seconds(min(w, plant.max_batch), plant.context) for w in range(2 + max_width(tables))]
    apart = [tau[1] - tau[point.width] / min(point.width, plant.max_batch) for point in tables.points]
    return (rates * load.work_ratio)[:, None] * np.hstack([np.zeros((len(rates), 1)), tables.tokens * np.array(apart)])


def max_width(tables: OperatingTables) -> int:
    return max(point.width for point in tables.points)


def mean_charge(tables: OperatingTables, rates: np.ndarray) -> np.ndarray:
    """What each column, of shedding and points, adds to the mean charge of a request."""
    assert tables.charges is not None
    charges = np.hstack([np.zeros((len(tables.classes), 1)), tables.charges.of])
    return (rates[:, None] * charges).ravel() / rates.sum()


def best_by_cutting_planes(
    tables: OperatingTables, objective: Objective, load: Load, plant: Plant, allowance: Allowance | None = None,
    corners: np.ndarray | None = None, room: float | None = None,
) -> np.ndarray:  # fmt: skip
    """The optimum over all points, no hull: linear programs with ever more tangents of the true N(D).

    `corners`: of each point, the number of the corner that classes share while it is in force; None: they share none.
    `room`: cells that a running sequence may hold on average; None: any.
    """
    rates = np.maximum(load.rates, objective.min_rate)
    tokens, accuracy = with_shedding(tables, objective)
    classes, columns = tokens.shape
    work = ((rates * load.work_ratio)[:, None] * tokens).ravel() / plant.capacity
    # variables: x, N, capacity slack, floor slacks, shares of time of corners
    shared = 0 if corners is None else int(corners.max()) + 1
    count = classes * columns + 2 + classes + shared
    cost = np.zeros(count)
    cost[: classes * columns] = -(rates[:, None] * accuracy).ravel() / rates.sum()
    cost[: classes * columns] -= objective.latency_weight / rates.sum() * of_rivals(tables, load, rates, plant).ravel()
    cost[classes * columns] = objective.latency_weight / rates.sum()
    cost[classes * columns + 1] = objective.capacity_penalty
    cost[classes * columns + 2 : count - shared] = objective.floor_penalty * rates / rates.sum()
    simplex = np.zeros((classes, count))
    cap = np.zeros(count)
    cap[: classes * columns], cap[classes * columns + 1] = work, -1.0
    rows, limits = [cap], [objective.max_load]
    if allowance is not None:
        charge = mean_charge(tables, rates)
        cost[: classes * columns] += allowance.worth * charge
        rows.append(np.concatenate([charge, np.zeros(count - classes * columns)]))
        limits.append(allowance.charge)
    if room is not None:
        cells = np.hstack([np.zeros((classes, 1)), tables.cell_steps(load.work_ratio)])
        crowded = rates[:, None] * (cells / room - load.work_ratio[:, None] * tokens) / plant.capacity
        rows.append(np.concatenate([crowded.ravel(), np.zeros(count - classes * columns)]))
        limits.append(0.0)
    for d in range(classes):
        simplex[d, d * columns : (d + 1) * columns] = 1.0
        if objective.accuracy_floors:
            row = np.zeros(count)
            row[d * columns : (d + 1) * columns], row[classes * columns + 2 + d] = -accuracy[d], -1.0
            rows.append(row)
            limits.append(-objective.accuracy_floors[d])

        for corner in range(shared):
            row = np.zeros(count)
            row[d * columns + 1 : (d + 1) * columns] = corners == corner
            row[count - shared + corner] = -1.0
            rows.append(row)
            limits.append(0.0)
    if shared:
        simplex = np.vstack([simplex, np.arange(count) >= count - shared])

    def cut(rho: float) -> None:
        step = 1e-5
        low, high = (plant.in_system(plant.capacity * (rho + sign * step)) for sign in (-1, 1))
        slope = (high - low) / (2 * step)
        row = np.zeros(count)
        row[: classes * columns], row[classes * columns] = slope * work, -1.0
        rows.append(row)
        limits.append(slope * rho - plant.in_system(plant.capacity * rho))

    for rho in (0.01, 0.5, 0.9):
        cut(rho)
    for _ in range(60):
        found = linprog(cost, A_ub=np.array(rows), b_ub=limits, A_eq=simplex, b_eq=np.ones(len(simplex)))
        assert found.success
        rho = float(work @ found.x[: classes * columns])
        if plant.in_system(plant.capacity * rho) - found.x[classes * columns] < 1e-5:
            break
        cut(max(rho, 1e-3))
    return found.x[: classes * columns].reshape(classes, columns)


def in_corners(tables: OperatingTables) -> tuple[OperatingTables, np.ndarray]:
    """Tables with each point once for each corner that it lies in, charged for that; and the corner of each."""
    assert tables.charges is not None
    corner, point = np.nonzero(tables.inside())
    every = tables.at(point.tolist())
    return replace(every, charges=Charges(of=tables.charges.of[:, corner], own=True)), corner


def least_charge(tables: OperatingTables, rates: np.ndarray, mixture: np.ndarray) -> float:
    """The least mean charge of a mixture [class, point] where all classes are in one corner at any time."""
    every, corner = in_corners(tables)
    classes, points = mixture.shape
    point = np.nonzero(tables.inside())[1]
    charge = mean_charge(every, rates).reshape(classes, -1)[:, 1:]
    columns, shared = len(corner), int(corner.max()) + 1
    count = classes * columns + shared
    same, within = [], []
    for d in range(classes):
        for k in range(points):
            row = np.zeros(count)
            row[d * columns : (d + 1) * columns] = point == k
            same.append(row)
        for g in range(shared):
            row = np.zeros(count)
            row[d * columns : (d + 1) * columns] = corner == g
            row[classes * columns + g] = -1.0
            within.append(row)
    found = linprog(
        np.concatenate([charge.ravel(), np.zeros(shared)]), A_ub=np.array(within), b_ub=np.full(len(within), 1e-7),
        A_eq=np.vstack([*same, np.arange(count) >= classes * columns]), b_eq=[*mixture.ravel(), 1.0],
    )  # fmt: skip
    assert found.success
    return float(found.fun)
