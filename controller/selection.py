"""From a price per token to an operating point of each class: the inner loop's whole decision, as pure functions.

At a price p each class takes the point with the highest Q − p·κ·W of its hull. A mixture of two points is no more than
indifference between them at some price, so nothing is lost by never mixing: the price follows the number of requests in
the system, and with it the class moves from one point to the other. Means between points, which nobody has certified,
are never handed out.

Where classes have SLOs, those points are left out first that would not let 95 % of requests end in time at the present
number in the system; a floor on accuracy goes before an SLO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controller.planning.objective import Objective
from models.profile.tables import OperatingTables, prune_hull

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is in force; entries are by class, points are places in the profile's."""

    target: tuple[int, ...]  # what is wanted
    threshold_now: tuple[float, ...]  # how far thresholds have come on their way there
    points: tuple[int, ...]  # what is handed out: the target's budget, the threshold nearest to `threshold_now`


def choose(
    tables: OperatingTables,
    objective: Objective,
    *,
    price: float,
    work_ratio: Array,
    before: tuple[int, ...] | None = None,
    floors: bool = True,
    steps: Sequence[float] | None = None,
) -> tuple[int, ...]:
    """The point of each class at this price; one that was wanted `before` stays unless another gains `stickiness`.

    With `floors`, points below a class's accuracy floor are left out where it has others. `steps`: how many decode
    steps each class's SLO leaves a request.
    """
    chosen = []
    for d in range(len(tables.classes)):
        open_to = np.arange(len(tables.points))
        if floors and objective.accuracy_floors:
            open_to = _enough(open_to, tables.accuracy[d], objective.accuracy_floors[d])
        if steps is not None and tables.p95_steps is not None:
            open_to = _enough(open_to, -work_ratio[d] * tables.p95_steps[d], -steps[d])
        hull = open_to[prune_hull(tables.tokens[d, open_to], tables.accuracy[d, open_to])]
        worth = tables.accuracy[d, hull] - max(price, 0.0) * work_ratio[d] * tables.tokens[d, hull]
        best = int(worth.argmax())
        if before is not None and before[d] in hull:
            kept = int(np.flatnonzero(hull == before[d])[0])
            if worth[best] - worth[kept] < objective.stickiness:
                best = kept
        chosen.append(int(hull[best]))
    return tuple(chosen)


def _enough(points: npt.NDArray[np.intp], of: Array, least: float) -> npt.NDArray[np.intp]:
    """Those points that have at least so much of something, else the one that has most."""
    enough = points[of[points] >= least]
    return enough if len(enough) else points[[int(of[points].argmax())]]


def move(
    tables: OperatingTables, objective: Objective, *, target: tuple[int, ...], before: Held | None, elapsed_s: float
) -> Held:
    """Go towards `target`: budgets at once, thresholds by no more than `threshold_rate` a second."""
    if before is None:
        return Held(target=target, threshold_now=tuple(tables.points[k].threshold for k in target), points=target)
    reach = objective.threshold_rate * elapsed_s
    thresholds, points = [], []
    for k, now in zip(target, before.threshold_now, strict=True):
        wanted = tables.points[k]
        thresholds.append(now + min(max(wanted.threshold - now, -reach), reach))
        same = [j for j, point in enumerate(tables.points) if point.budget == wanted.budget]
        points.append(min(same, key=lambda j: abs(tables.points[j].threshold - thresholds[-1])))
    return Held(target=target, threshold_now=tuple(thresholds), points=tuple(points))


def cheapest(tables: OperatingTables) -> tuple[int, ...]:
    """The point of fewest tokens on each class's hull."""
    return tuple(int(prune_hull(*pair)[0]) for pair in zip(tables.tokens, tables.accuracy, strict=True))
