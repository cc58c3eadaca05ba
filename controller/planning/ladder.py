"""The levels of the policy map: all classes' operating points merged into one list, cheapest first.

Each level moves one class to its next hull point, the class whose next point gains the most accuracy per token. With an
account of risk a point's worth is its accuracy less its charge, at a price of risk. Where one corner counts for all
classes, the levels are those within each corner that is the best one at some prices of a token and of risk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError

from controller.load import Load
from controller.planning.races import racing
from models.profile.plant import Plant
from models.profile.tables import Charges, OperatingTables, prune_hull

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

PRICES = 48  # of a token, at which corners are compared
FAR = 10.0  # times the range of what levels cost


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ladder:
    """All classes' hulls merged into one list of levels, cheapest first."""

    points: Places  # [level, class]: the profile's point of each class
    tokens: Array  # of a mean request, by level
    accuracy: Array  # of a mean request, by level
    charge: Array | None = None  # of a mean request to the account of risk, by level; None: there is no account


def ladder(tables: OperatingTables, load: Load) -> Ladder:
    """Returns the levels for this load's mix, from all classes at their cheapest hull points to all at their best."""
    return _of(tables, load, _climb(tables.tokens, tables.accuracy, load))


def uncharged(tables: OperatingTables) -> OperatingTables:
    """Returns the tables with no charge for any point, as where there is no account of risk."""
    return replace(tables, charges=Charges(of=np.zeros(tables.tokens.shape), own=True))


class ChargedLadders:
    """The ladders of tables with charges, for one load, by the price of risk."""

    def __init__(self, tables: OperatingTables, load: Load) -> None:
        """Raises ValueError if the tables have no charges."""
        if tables.charges is None:
            raise ValueError("charges is None, must be given: there is no account of risk")
        self._tables, self._load, self._charges = tables, load, tables.charges
        self._fixed = None if self._charges.own else self._of_corners()

    def at(self, risk_price: float) -> Ladder:
        """Returns the levels at a price of risk, right answers."""
        if self._fixed is not None:
            return self._fixed
        tables, load = self._tables, self._load
        points = _climb(tables.tokens, tables.accuracy - risk_price * self._charges.of, load)
        return _of(tables, load, points, self._charges.of[np.arange(points.shape[1]), points] @ load.mix)

    def _of_corners(self) -> Ladder:
        tables, load = self._tables, self._load
        inside = tables.inside()
        found: list[Places] = []
        charged: list[float] = []
        for corner in _promising(tables, load, inside):
            within = np.flatnonzero(inside[corner])
            levels = within[_climb(tables.tokens[:, within], tables.accuracy[:, within], load)]
            found.extend(levels)
            charged += [float(self._charges.of[0, corner])] * len(levels)
        every = _of(tables, load, np.array(found), np.array(charged))
        assert every.charge is not None
        kept = extreme(np.stack([every.tokens, every.charge, -every.accuracy], axis=1))
        kept = kept[np.argsort(every.tokens[kept], kind="stable")]
        return Ladder(
            points=every.points[kept],
            tokens=every.tokens[kept],
            accuracy=every.accuracy[kept],
            charge=every.charge[kept],
        )


class RacingLadders:
    """The ladders of tables with races, for one load: those of all numbers of requests whose races have room.

    A race that is worth its time where places are idle need not be worth its rows, and the widest need not fit.
    """

    def __init__(self, tables: OperatingTables, load: Load, plant: Plant) -> None:
        """Raises ValueError if the tables have no charges."""
        self._tables, self._load = tables, load
        numbers = {1, *(n for point in tables.points if (n := plant.max_batch // point.width) and point.width > 1)}
        self._each = [ChargedLadders(racing(tables, plant, n), load) for n in sorted(numbers)]

    def at(self, risk_price: float) -> Ladder:
        """Returns all their levels at a price of risk, right answers."""
        each = [one.at(risk_price) for one in self._each]
        charges = np.concatenate([one.charge for one in each if one.charge is not None])
        levels = np.hstack([np.concatenate([one.points for one in each]), charges[:, None]])
        levels = np.unique(levels, axis=0)
        return _of(self._tables, self._load, levels[:, :-1].astype(np.intp), levels[:, -1])


def extreme(costs: Array) -> Places:
    """Returns the rows [row, cost] that no mixture of others matches or beats in all costs, in their order."""
    costs = costs - costs.min(axis=0)
    costs /= np.maximum(costs.max(axis=0), 1e-12)
    # whoever costs as much as a mixture or more is no corner of what the rows and all far beyond them span
    beyond = [costs + FAR * axis for axis in np.eye(costs.shape[1])]
    try:
        corners = ConvexHull(np.concatenate([costs, *beyond])).vertices
    except QhullError:  # all rows are alike
        return np.arange(len(costs))
    return np.sort(corners[corners < len(costs)]).astype(np.intp)


def _of(tables: OperatingTables, load: Load, points: Places, charge: Array | None = None) -> Ladder:
    """Returns the ladder of levels with these points [level, class]."""
    classes = np.arange(points.shape[1])
    return Ladder(
        points=points,
        tokens=(tables.tokens * load.work_ratio[:, None])[classes, points] @ load.mix,
        accuracy=tables.accuracy[classes, points] @ load.mix,
        charge=charge,
    )


def _climb(tokens: Array, worth: Array, load: Load) -> Places:
    """Returns levels [level, class] of places in the tables [class, point], by falling worth gained per token."""
    hulls = [prune_hull(*pair) for pair in zip(tokens, worth, strict=True)]
    steps = []  # worth gained per token, class
    for d, hull in enumerate(hulls):
        longer = load.work_ratio[d] * tokens[d, hull]
        steps += [(gain, d) for gain in np.diff(worth[d, hull]) / np.diff(longer)]
    climbs = [d for _, d in sorted(steps, key=lambda step: -step[0])]
    rungs = np.zeros((len(climbs) + 1, len(hulls)), dtype=np.intp)
    for level, d in enumerate(climbs, start=1):
        rungs[level] = rungs[level - 1]
        rungs[level, d] += 1
    return np.array([hull[rungs[:, d]] for d, hull in enumerate(hulls)]).T


def _promising(tables: OperatingTables, load: Load, inside: npt.NDArray[np.bool_]) -> Places:
    """Returns the corners that are best at some prices of a token and of risk."""
    assert tables.charges is not None
    tokens = tables.tokens * load.work_ratio[:, None]
    usual = float(tables.accuracy.max() - tables.accuracy.min() + 1e-9) / float(tokens.max())
    prices = np.concatenate([[0.0], usual * np.geomspace(1e-3, 1e3, PRICES - 1)])
    costs = []
    for price in prices:
        worth = tables.accuracy - price * tokens
        best = np.where(inside, worth[:, None, :], -np.inf).max(axis=2)  # [class, corner]
        costs.append(-(load.mix @ best))
    both = np.stack([*costs, tables.charges.of[0]], axis=1)  # [corner, price and charge]
    kept = {int(k) for column in both[:, :-1].T for k in _lower_left(np.stack([column, both[:, -1]], axis=1))}
    return np.array(sorted(kept), dtype=np.intp)


def _lower_left(costs: Array) -> Places:
    """Returns the rows [row, two costs] that no mixture of others matches or beats."""
    return prune_hull(costs[:, 1], -costs[:, 0])
