"""From a price per token to an operating point of each class: the inner loop's whole decision, as pure functions.

At a price p each class takes the point with the highest Q − p·κ·W of its hull. A mixture of two points is optimal only
at a price at which both are equally good, so never mixing loses nothing: the price follows the number of requests in
the system, and the class moves from one point to the other with the price. Means between two points are not certified,
so they are never handed out.

Where memory binds, a point also costs the cells that it holds beyond what a sequence has room for, at their price.

With an account of risk a point also costs its charge, at the price of risk. Where one corner counts for all classes,
the laxest in force, the corner is chosen first, by what all classes together would gain within it; the one in force
stays unless another gains `stickiness`.

If classes have SLOs, points with which 95 % of requests would not end in time at the present number in the system are
left out first; an accuracy floor takes precedence over an SLO. Both go before the price of risk: of the corners those
count that hold points which keep them, for as many requests as any corner does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controller.planning.decision import CellPrice
from controller.planning.objective import Objective
from controller.policy import Limits
from models.profile.give_up import GiveUpLimit
from models.profile.tables import OperatingTables, PointId, prune_hull

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

NEAR = 1e-9  # shares of requests that differ by less are equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The points in force. Entries are by class."""

    target: tuple[PointId, ...]  # the points that were chosen
    threshold_now: tuple[float, ...]  # thresholds, as numbers, on their rate-limited way to the target's
    # the points handed out: the target's, but with the threshold nearest to `threshold_now`
    points: tuple[PointId, ...]


def choose(
    tables: OperatingTables,
    objective: Objective,
    *,
    price: float,
    work_ratio: Array,
    before: tuple[PointId, ...] | None = None,
    floors: bool = True,
    steps: Sequence[float] | None = None,
    risk_price: float = 0.0,
    mix: Array | None = None,
    cells: CellPrice | None = None,
) -> tuple[PointId, ...]:
    """Returns the best point of each class at this price; the target `before` stays unless another gains `stickiness`.

    With `floors`, points below a class's accuracy floor are left out if the class has others. `steps`: decode steps
    that each class's SLO leaves a request; None: there is no SLO. `before` None: there is no earlier target.
    `risk_price`: correct answers that a unit charged to the account of risk costs; `mix`: the classes' shares; None:
    all alike. `cells` None: no cell costs anything.
    """
    accuracy = tables.accuracy
    if cells is not None and tables.square is not None:
        accuracy = accuracy - cells.of(tables, work_ratio)
    within = np.arange(len(tables.points))
    if tables.charges is not None:
        if tables.charges.own:
            accuracy = accuracy - risk_price * tables.charges.of
        else:
            worth = accuracy - max(price, 0.0) * work_ratio[:, None] * tables.tokens
            shares = np.ones(len(accuracy)) / len(accuracy) if mix is None else mix / mix.sum()
            goals = _goals(tables, objective.accuracy_floors if floors else (), work_ratio, steps)
            within = _corner(tables, worth, risk_price, shares, before, objective.stickiness, goals)
    chosen = []
    for d in range(len(tables.classes)):
        open_to = within
        if floors and objective.accuracy_floors:
            open_to = _enough(open_to, tables.accuracy[d], objective.accuracy_floors[d])
        if steps is not None and tables.p95_steps is not None:
            open_to = _enough(open_to, -work_ratio[d] * tables.p95_steps[d], -steps[d])
        hull = open_to[prune_hull(tables.tokens[d, open_to], accuracy[d, open_to])]
        worth = accuracy[d, hull] - max(price, 0.0) * work_ratio[d] * tables.tokens[d, hull]
        best = int(worth.argmax())
        if before is not None and before[d] in hull:
            kept = int(np.flatnonzero(hull == before[d])[0])
            if worth[best] - worth[kept] < objective.stickiness:
                best = kept
        chosen.append(PointId(int(hull[best])))
    return tuple(chosen)


def _goals(
    tables: OperatingTables, floors: Sequence[float], work_ratio: Array, steps: Sequence[float] | None
) -> list[Mask]:
    """Returns which points keep each goal of their class, [class, point]: floors first, then SLOs."""
    goals: list[Mask] = []
    if floors:
        goals.append(tables.accuracy >= np.array(floors)[:, None])
    if steps is not None and tables.p95_steps is not None:
        goals.append(work_ratio[:, None] * tables.p95_steps <= np.array(steps)[:, None])
    return goals


def _corner(
    tables: OperatingTables,
    worth: Array,
    risk_price: float,
    shares: Array,
    before: Sequence[int] | None,
    least: float,
    goals: Sequence[Mask],
) -> npt.NDArray[np.intp]:
    """Returns the points within the best corner for all classes; `worth`: [class, point], without what risk costs.

    The corner of the points `before` stays unless another one gains `least`. `goals`: which points keep each, [class,
    point], the first goes before the next; corners within which it is kept by less of the classes than within others
    are left out.
    """
    assert tables.charges is not None
    inside, charges = tables.inside(), tables.charges.of[0]
    open_to, keeps = np.broadcast_to(inside, (len(worth), *inside.shape)), np.ones(len(inside), dtype=np.bool_)
    for goal in goals:
        kept_by = open_to & goal[:, None, :]
        kept_in = np.asarray(kept_by.any(axis=2))  # [class, corner]
        share = np.where(keeps, shares @ kept_in, -1.0)
        keeps = share >= share.max() - NEAR
        open_to = np.where(kept_in[:, :, None], kept_by, open_to)
    best = np.where(open_to, worth[:, None, :], -np.inf).max(axis=2)  # [class, corner]
    gains = np.where(keeps, shares @ best - risk_price * charges, -np.inf)
    corner = int(gains.argmax())
    if before is not None:
        around = np.flatnonzero(inside[:, list(before)].all(axis=1))  # the corners that they all lie in
        held = around[charges[around] <= charges[around].min()] if len(around) else around
        kept = int(held[gains[held].argmax()]) if len(held) else corner
        corner = kept if gains[corner] - gains[kept] < least else corner
    return np.flatnonzero(inside[corner])


def _enough(points: npt.NDArray[np.intp], of: Array, least: float) -> npt.NDArray[np.intp]:
    """Returns the points whose value in `of` is at least `least`; if there are none, the one with the highest value."""
    enough = points[of[points] >= least]
    return enough if len(enough) else points[[int(of[points].argmax())]]


def move(
    tables: OperatingTables, objective: Objective, *, target: tuple[PointId, ...], before: Held | None, elapsed_s: float
) -> Held:
    """Moves towards `target`: all but thresholds changes at once, these by `threshold_rate` a second at most.

    `before` None: the target is in force at once.
    """
    if before is None:
        return Held(target=target, threshold_now=tuple(tables.thresholds[list(target)].tolist()), points=target)
    reach = objective.threshold_rate * elapsed_s
    thresholds, points = [], []
    for k, now in zip(target, before.threshold_now, strict=True):
        thresholds.append(now + min(max(float(tables.thresholds[k]) - now, -reach), reach))
        same = [PointId(j) for j in tables.beside(k)]
        points.append(min(same, key=lambda j: (abs(float(tables.thresholds[j]) - thresholds[-1]), j != k)))
    return Held(target=target, threshold_now=tuple(thresholds), points=tuple(points))


def cheapest(tables: OperatingTables) -> tuple[PointId, ...]:
    """Returns the point with the fewest tokens on each class's hull."""
    return tuple(PointId(int(prune_hull(*pair)[0])) for pair in zip(tables.tokens, tables.accuracy, strict=True))


def safe_points(tables: OperatingTables, mean: float | None) -> tuple[PointId, ...]:
    """Returns each class's safe point: its cheapest, or the cheapest that an account of risk always affords.

    `mean`: the risk that the account keeps on average; None: there is no account.
    """
    charges = tables.charges
    if charges is None or mean is None:
        return cheapest(tables)
    always = np.flatnonzero((charges.of <= mean).all(axis=0))
    found = cheapest(tables.at(always.tolist()))
    return tuple(PointId(int(always[k])) for k in found)


def limits_at(tables: OperatingTables, points: Sequence[PointId]) -> tuple[Limits, ...]:
    """Returns the limits of each class's thoughts at its point; curves and indices count in medians of the class."""
    found = []
    for d, k in enumerate(points):
        point = tables.points[k]
        curve = None
        if point.give_up is not None and tables.medians is not None:
            curve = GiveUpLimit(curve=point.give_up, median=tables.medians[d])
        index = None
        if point.price is not None and tables.index is not None:
            index = tables.index.limit(d, point.price)
        found.append(
            Limits(
                threshold=point.threshold,
                budget=point.budget,
                give_up=curve,
                index=index,
                skip=point.skip,
                race=point.race,
            )
        )
    return tuple(found)
