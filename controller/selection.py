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
from models.profile.tables import Profile, prune_hull

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is in force; entries are by class, points are places in the profile's."""

    target: tuple[int, ...]  # what is wanted
    pace: tuple[float, ...]  # how far thresholds have come on their way there
    points: tuple[int, ...]  # what is handed out: the target's budget, the threshold nearest to the pace


def choose(
    profile: Profile,
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
    for d in range(len(profile.classes)):
        open_to = np.arange(len(profile.points))
        if floors and objective.accuracy_floors:
            open_to = _enough(open_to, profile.accuracy[d], objective.accuracy_floors[d])
        if steps is not None and profile.p95_steps is not None:
            open_to = _enough(open_to, -work_ratio[d] * profile.p95_steps[d], -steps[d])
        hull = open_to[prune_hull(profile.tokens[d, open_to], profile.accuracy[d, open_to])]
        worth = profile.accuracy[d, hull] - max(price, 0.0) * work_ratio[d] * profile.tokens[d, hull]
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
    profile: Profile, objective: Objective, *, target: tuple[int, ...], before: Held | None, elapsed_s: float
) -> Held:
    """Go towards `target`: budgets at once, thresholds by no more than `threshold_rate` a second."""
    if before is None:
        return Held(target=target, pace=tuple(profile.points[k].threshold for k in target), points=target)
    reach = objective.threshold_rate * elapsed_s
    pace, points = [], []
    for k, now in zip(target, before.pace, strict=True):
        wanted = profile.points[k]
        pace.append(now + min(max(wanted.threshold - now, -reach), reach))
        same = [j for j, point in enumerate(profile.points) if point.budget == wanted.budget]
        points.append(min(same, key=lambda j: abs(profile.points[j].threshold - pace[-1])))
    return Held(target=target, pace=tuple(pace), points=tuple(points))


def cheapest(profile: Profile) -> tuple[int, ...]:
    """The point of fewest tokens on each class's hull."""
    return tuple(int(prune_hull(*tables)[0]) for tables in zip(profile.tokens, profile.accuracy, strict=True))
