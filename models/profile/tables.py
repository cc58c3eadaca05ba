"""Accuracy and token cost of early exit: profiled tables per difficulty class and operating point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NewType

import numpy as np
import numpy.typing as npt

from models.files.checks import positive
from models.profile.give_up import GiveUpCurve, check_ladder
from models.profile.levers.index import PriceIndex
from models.profile.width import RaceRule

Array = npt.NDArray[np.float64]

PointId = NewType("PointId", int)
"""An operating point, as its place in the points of its OperatingTables."""

NEVER = 1.01  # stands for the threshold of a point that never probes, where a number must
"""Inside, None is never. Arithmetic, files and metrics get this number from OperatingTables, or write it themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """One setting of early exit."""

    threshold: float | None  # confidence at which a thought is closed; None: it is never probed
    budget: int | None  # thinking tokens; None: no budget
    give_up: GiveUpCurve | None = None  # lower threshold, below which a thought is given up; None: none is
    price: float | None = None  # of a token row, at which a thought's index closes it; None: it is closed by no index
    skip: float | None = None  # the score from which a prompt is answered at once; None: none is
    race: RaceRule | None = None  # how several thoughts of the prompt race; None: one thinks alone

    def __post_init__(self) -> None:
        positive(self, "threshold", "price")
        if self.race is not None and (self.threshold, self.budget, self.give_up, self.skip) != (None,) * 4:
            raise ValueError("race is given, must stand alone: full thoughts race")
        if self.give_up is not None and self.threshold is None:
            raise ValueError("threshold is None, must be given beside give_up: only what is probed can be given up")
        if self.price is not None and self.threshold is not None:
            raise ValueError(f"threshold is {self.threshold} and price {self.price}, must be one of them")
        if self.price is not None and (self.skip, self.race) != (None, None):
            raise ValueError(f"price is {self.price} beside a cut-off or a race, must be without them")
        if self.skip is not None and not 0.0 < self.skip < 1.0:
            raise ValueError(f"skip is {self.skip}, must lie between 0 and 1")
        if self.budget is not None and not (math.isfinite(self.budget) and self.budget >= 0):
            raise ValueError(f"budget is {self.budget} tokens, must be finite and at least 0")

    @property
    def width(self) -> int:
        """The number of thoughts of one prompt."""
        return 1 if self.race is None else self.race.width


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Charges:
    """What an account of risk charges a request for its operating point."""

    of: Array  # [class, point]: upper bound of the risk, simultaneous over all points
    own: bool  # whether a class's bound is its own; else a request is charged for the laxest corner of all classes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OperatingTables:
    """Tables W and Q, [class, point]; the class is the difficulty predicted when a request arrives.

    Means over mixtures and rate limits need numbers, so `thresholds` and `budgets` hold every point's as numbers:
    NEVER for no probing, `longest` for no budget. They are converted here, once; points themselves keep None. Lower
    curves form a ladder, on which `levels` has each point's place; `skips` has NEVER for no cut-off.
    """

    classes: tuple[str, ...]  # easiest first
    points: tuple[OperatingPoint, ...]
    tokens: Array  # W: mean decoded tokens of a request, probes and answer included
    accuracy: Array  # Q: share of correct answers
    shed_tokens: float = 0.0  # tokens that a shed request costs nonetheless
    p95_steps: Array | None = None  # 95th percentile of a request's decode steps; None: unknown, no SLO can be kept
    longest: int | None = None  # tokens of the longest thought, as which no budget counts; None: all points have one
    charges: Charges | None = None  # of an account of risk; None: there is no account
    medians: tuple[float, ...] | None = None  # by class, of full thoughts, tokens; None: no point has a lower curve
    square: Array | None = None  # mean squared decoded tokens of a request; None: unknown, no cells can be planned
    prompt: float = 0.0  # mean tokens of a prompt
    index: PriceIndex | None = None  # of running thoughts; None: no point has a price
    thresholds: Array = field(init=False)  # by point, as numbers
    budgets: Array = field(init=False)  # by point, as numbers
    levels: npt.NDArray[np.intp] = field(init=False)  # by point: place of its lower curve, lowest first; 0: it has none
    skips: Array = field(init=False)  # by point: the score from which a prompt is answered at once

    def __post_init__(self) -> None:
        shape = (len(self.classes), len(self.points))
        if 0 in shape:
            raise ValueError(f"the profile has {shape[0]} classes and {shape[1]} points, must have at least 1 of each")
        if self.medians is not None and len(self.medians) != len(self.classes):
            raise ValueError(f"medians has {len(self.medians)} entries, must have {len(self.classes)}: one a class")
        if self.medians is None and any(point.give_up is not None for point in self.points):
            raise ValueError("medians is None, must be given for points with a lower curve")
        if self.index is None and any(point.price is not None for point in self.points):
            raise ValueError("index is None, must be given for points with a price")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes are {', '.join(self.classes)}, must differ")
        for name in ("tokens", "accuracy", "p95_steps", "square"):
            if getattr(self, name) is None:
                continue
            table = np.asarray(getattr(self, name), dtype=np.float64)
            if table.shape != shape:
                raise ValueError(f"{name} has shape {table.shape}, must be {shape}: classes and points")
            if not np.all(np.isfinite(table)):
                raise ValueError(f"{name} has an entry that is not finite")
            table = table.copy()
            table.setflags(write=False)
            object.__setattr__(self, name, table)
        if self.tokens.min() <= 0.0:
            raise ValueError(f"tokens has an entry of {self.tokens.min()}, must be above 0")
        if self.accuracy.min() < 0.0 or self.accuracy.max() > 1.0:
            raise ValueError(
                f"accuracy goes from {self.accuracy.min()} to {self.accuracy.max()}, must stay between 0 and 1"
            )
        if not 0.0 <= self.shed_tokens < self.tokens.min():
            raise ValueError(
                f"shed_tokens is {self.shed_tokens}, must be at least 0 and below the cheapest point's "
                f"{self.tokens.min()}"
            )
        numbers = np.array([self.numbers(point) for point in self.points], dtype=np.float64).T
        numbers.setflags(write=False)
        object.__setattr__(self, "thresholds", numbers[0])
        object.__setattr__(self, "budgets", numbers[1])
        levels = np.array(self._levels(), dtype=np.intp)
        levels.setflags(write=False)
        object.__setattr__(self, "levels", levels)
        skips = np.array([NEVER if point.skip is None else point.skip for point in self.points], dtype=np.float64)
        skips.setflags(write=False)
        object.__setattr__(self, "skips", skips)

    def numbers(self, point: OperatingPoint) -> tuple[float, float]:
        """Returns threshold and budget as numbers. Raises ValueError for no budget if there is no `longest` thought."""
        budget = self.longest if point.budget is None else point.budget
        if budget is None:
            raise ValueError(f"longest is {self.longest}, must be the tokens of a thought for points without a budget")
        return NEVER if point.threshold is None else point.threshold, budget

    def inside(self) -> npt.NDArray[np.bool_]:
        """Returns [corner, point]: whether a point lies in the corner of another one, and is nowhere laxer."""
        return np.asarray(
            (self.thresholds >= self.thresholds[:, None])
            & (self.budgets >= self.budgets[:, None])
            & (self.levels <= self.levels[:, None])
            & (self._prices() <= self._prices()[:, None])
            & (self.skips >= self.skips[:, None])
        )

    def _prices(self) -> Array:
        """Returns every point's price; 0: it has none."""
        return np.array([point.price or 0.0 for point in self.points])

    def _levels(self) -> list[int]:
        ladder = sorted(
            {point.give_up for point in self.points if point.give_up is not None},
            key=lambda curve: (curve.height, -curve.rise),
        )
        check_ladder(ladder)
        places = {curve: place for place, curve in enumerate(ladder, start=1)}
        return [0 if point.give_up is None else places[point.give_up] for point in self.points]

    def beside(self, point: int) -> list[int]:
        """Returns the points that differ from this one in the threshold alone, itself included.

        Thoughts race at none of them but itself.
        """
        wanted = self.points[point]
        mine = (wanted.budget, wanted.give_up, wanted.skip, wanted.price)
        return [
            k
            for k, one in enumerate(self.points)
            if k == point or ((one.budget, one.give_up, one.skip, one.price) == mine and one.race is None)
        ]

    def alone(self) -> OperatingTables:
        """Returns the tables without the points at which thoughts race, which stand behind all others."""
        kept = [k for k, one in enumerate(self.points) if one.race is None]
        return self if len(kept) == len(self.points) else self.at(kept)

    def at(self, points: Sequence[int]) -> OperatingTables:
        """The tables restricted to the points with these indices."""
        columns = list(points)
        return OperatingTables(
            classes=self.classes,
            points=tuple(self.points[k] for k in columns),
            tokens=self.tokens[:, columns],
            accuracy=self.accuracy[:, columns],
            shed_tokens=self.shed_tokens,
            p95_steps=None if self.p95_steps is None else self.p95_steps[:, columns],
            longest=self.longest,
            charges=None if self.charges is None else Charges(of=self.charges.of[:, columns], own=self.charges.own),
            medians=self.medians,
            square=None if self.square is None else self.square[:, columns],
            prompt=self.prompt,
            index=self.index,
        )

    def cell_steps(self, work_ratio: Array) -> Array:
        """Returns the cells of KV cache that a request holds, added over its decode steps, [class, point].

        With W steps and prompt p it holds p + 1, p + 2, … cells: p·W + W²/2 in all. `work_ratio`: actual over profiled
        tokens, by class. Probe rows count as steps, so the result is a little too high where many probes are answered.
        Raises ValueError if the tables hold no squares.
        """
        if self.square is None:
            raise ValueError("square is None, must be given to plan KV cells")
        ratio = work_ratio[:, None]
        return np.asarray(self.prompt * ratio * self.tokens + ratio**2 * self.square / 2.0)

    def joined(self, other: OperatingTables) -> OperatingTables:
        """Returns these tables with the points of another lever behind them.

        Classes, shed tokens, longest thought, medians and prompt are these tables'. Squares are in the result if they
        are in both. Raises ValueError if the classes differ, or if one of both alone has charges or steps.
        """
        if other.classes != self.classes:
            raise ValueError(f"classes are {', '.join(other.classes)}, must be {', '.join(self.classes)}")
        for name in ("charges", "p95_steps"):
            if (getattr(self, name) is None) != (getattr(other, name) is None):
                raise ValueError(f"{name} is None in one of both tables, must be in both or neither")
        charges, steps, square = None, None, None
        if self.charges is not None and other.charges is not None:
            charges = Charges(of=np.hstack([self.charges.of, other.charges.of]), own=self.charges.own)
        if self.p95_steps is not None and other.p95_steps is not None:
            steps = np.hstack([self.p95_steps, other.p95_steps])
        if self.square is not None and other.square is not None:
            square = np.hstack([self.square, other.square])
        return replace(
            self,
            points=(*self.points, *other.points),
            tokens=np.hstack([self.tokens, other.tokens]),
            accuracy=np.hstack([self.accuracy, other.accuracy]),
            p95_steps=steps,
            charges=charges,
            square=square,
        )


def prune_hull(tokens: npt.ArrayLike, accuracy: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Indices of the points worth mixing, by ascending tokens: the upper concave hull, up to the highest accuracy.

    Any mixture of points is matched or beaten by a mixture of at most two neighbours on the hull.
    """
    x, y = np.asarray(tokens, dtype=np.float64), np.asarray(accuracy, dtype=np.float64)
    hull: list[int] = []
    for k in np.lexsort((-y, x)):  # by tokens; at equal tokens the more accurate first
        if hull and y[k] <= y[hull[-1]]:
            continue  # costs more and is no more accurate
        while len(hull) > 1:
            i, j = hull[-2], hull[-1]
            if (y[j] - y[i]) * (x[k] - x[j]) > (y[k] - y[j]) * (x[j] - x[i]):
                break
            hull.pop()  # on or below the chord from i to k
        hull.append(int(k))
    return np.array(hull, dtype=np.intp)


def turning_prices(tables: OperatingTables) -> list[float]:
    """Returns the prices of a token, in right answers, at which some class goes to the next point of its hull; and 0.

    Between two of them the worth of every set of points is linear in the price.
    """
    prices = {0.0}
    for tokens, accuracy in zip(tables.tokens, tables.accuracy, strict=True):
        hull = prune_hull(tokens, accuracy)
        prices |= {float((accuracy[b] - accuracy[a]) / (tokens[b] - tokens[a])) for a, b in pairwise(hull)}
    return sorted(prices)
