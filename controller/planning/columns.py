"""The columns of the joint program: the points that each class may mix, within each corner that all classes share.

Where classes have bounds of their own, or there is no account of risk, a class's columns are its hull points. Where one
corner counts for all classes, a request is charged for the laxest in force: so a plan shares its time between corners,
and a class's columns are its hull points within each. The corners are those that are best, for all classes together, at
some prices of a token and of risk: a dozen at most. Where memory is planned, a price of cells counts like one of
tokens: by squared tokens, by which cells grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from controller.planning.ladder import extreme
from controller.planning.races import has_races, widths
from models.profile.tables import OperatingTables, prune_hull

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

MOST = 12  # corners that a plan shares its time between
PRICES = 24  # of a token, at which corners are compared: 0, and up to SPREAD times the usual one, and down
SPREAD = 100.0
CELL_SHARES = (0.5, 1.0, 1.5, 2.0)  # of cells in what a point costs; above 1: tokens that leave room gain
NEAR = 2  # prices away: a class whose work is underestimated by half sees them
SHED = -1  # stands for the point of a request that is shed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Each column's class, point and corner."""

    of_class: Places
    point: Places  # SHED: none
    corner: Places  # place in `corners`; -1: none, the class is charged for its point alone, or the request is shed
    corners: Places  # points of the tables; empty: no corner is shared
    stands_for: Places  # the point whose threshold and budget a column has: for shedding the class's cheapest

    @classmethod
    def of(cls, tables: OperatingTables, *, memory: bool = False) -> Columns:
        """Returns the columns of tables, by class, shedding first; `memory`: whether KV cells are planned, too."""
        shared = shared_corners(tables, memory=memory) if tables.charges is not None and not tables.charges.own else []
        rows: list[tuple[int, int, int, int]] = []
        for d in range(len(tables.classes)):
            mine = [(g, k) for g, (_, points) in enumerate(shared) for k in points[d]]
            if not shared:
                mine = [(-1, int(k)) for k in hull_points(tables, d, memory=memory)]
            rows.append((d, SHED, -1, min((k for _, k in mine), key=lambda k: float(tables.tokens[d, k]))))
            rows += [(d, k, g, k) for g, k in mine]
        of_class, point, corner, stands_for = np.array(rows, dtype=np.intp).T
        corners = np.array([place for place, _ in shared], dtype=np.intp)
        return cls(of_class=of_class, point=point, corner=corner, corners=corners, stands_for=stands_for)

    def charged(self, tables: OperatingTables) -> Array:
        """Returns what a request of each column is charged; 0 without an account."""
        if tables.charges is None:
            return np.zeros(len(self.point))
        at = self.corners[self.corner] if len(self.corners) else self.point
        return np.where(self.point == SHED, 0.0, tables.charges.of[self.of_class, at])

    def merged(self) -> npt.NDArray[np.float64]:
        """Returns [class and point, column]: which columns are one point of a class, if in different corners."""
        pairs = np.stack([self.of_class, self.point], axis=1)
        _, first, number = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
        return np.equal.outer(np.arange(len(first)), number.ravel()).astype(np.float64)


def hull_points(tables: OperatingTables, d: int, *, memory: bool = False) -> Places:
    """Returns a class's points that are worth mixing, by ascending tokens.

    These are the corners of all that mixtures match or beat in tokens and accuracy, with an account of risk in charge,
    too, and with `memory` in squared tokens, by which cells grow.
    """
    tokens, accuracy = tables.tokens[d], tables.accuracy[d]
    costs = [tokens]
    if has_races(tables):  # rivals cost no user's time: worth a price of their own
        costs.append(tokens / widths(tables))
    if tables.charges is not None:
        costs.append(tables.charges.of[d])
    if memory and tables.square is not None:
        costs.append(tables.square[d])
    if len(costs) == 1:
        return prune_hull(tokens, accuracy)
    kept = extreme(np.stack([*costs, -accuracy], axis=1))
    return np.asarray(kept[np.lexsort((-accuracy[kept], tokens[kept]))], dtype=np.intp)


def shared_corners(tables: OperatingTables, *, memory: bool = False) -> list[tuple[int, list[list[int]]]]:
    """Returns the corners, as points, that are best at some prices of a token and of risk, whatever the classes' mix.

    Each comes with the points of each class that are best within it near the prices at which the corner is best.
    Classes may be shed, so mixes without some of them count, too. Of more than a dozen corners those stay that are best
    most often. With `memory` prices are of tokens, and of tokens and cells together, in several shares.
    """
    assert tables.charges is not None
    inside, charges = tables.inside(), tables.charges.of[0]
    classes = len(tables.classes)
    served = [each for each in product((0.0, 0.25, 1.0), repeat=min(classes, 4)) if any(each)]
    mixes = np.array([(*each, *[each[-1]] * (classes - len(each))) for each in served])
    usual = float(np.ptp(tables.accuracy) + 1e-9) / float(tables.tokens.mean())
    often, chosen = [], []
    for cost in _costs(tables, memory=memory):
        for price in (0.0, *(usual * np.geomspace(1.0 / SPREAD, SPREAD, PRICES - 1))):
            worth = np.where(inside, (tables.accuracy - price * cost)[:, None, :], -np.inf)  # [class, corner, point]
            chosen.append(worth.argmax(axis=2))
            hulls = [prune_hull(charges, mix @ worth.max(axis=2)) for mix in mixes]
            often.append(np.bincount(np.concatenate(hulls), minlength=len(charges)))
    count = np.array(often)  # [price, corner]
    kept = np.argsort(-count.sum(axis=0), kind="stable")[: min(MOST, int(count.any(axis=0).sum()))]
    found = []
    for corner in sorted(kept.tolist()):
        prices = {near for i in np.flatnonzero(count[:, corner]).tolist() for near in _near(i)}
        found.append((corner, [sorted({int(chosen[i][d, corner]) for i in prices}) for d in range(classes)]))
    return found


def _costs(tables: OperatingTables, *, memory: bool) -> list[Array]:
    """Returns what points may cost a request, [class, point], in tokens on average."""
    tokens, square = tables.tokens, tables.square
    plain = [tokens, tokens / widths(tables)] if has_races(tables) else [tokens]
    if not memory or square is None:
        return plain
    cells = square * (tokens.mean() / square.mean())
    return [*plain, *((1.0 - share) * tokens + share * cells for share in CELL_SHARES)]


def _near(i: int) -> list[int]:
    """Returns the prices near the i-th one, of the same cost."""
    first = i - i % PRICES
    return [j for j in range(i - NEAR, i + NEAR + 1) if first <= j < first + PRICES]
