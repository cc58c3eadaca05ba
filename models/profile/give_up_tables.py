"""What giving up costs and saves at every point of a profile, and which points with a lower curve are certified.

The risk of a corner (curve, threshold, budget) is P(the full thought is right, and some exit within the corner is
wrong), where the exits within it are those of its threshold and budget, as ever, and every place of a thought that lies
below the curve. Limits move while thoughts run, and not every probe is answered, so a place counts as wrong if any
trial up to it that is at least as sure as the place's own is wrong: any of these may be the best trial by then.

All columns, one for each curve and budget and those without a curve, share δ (Bonferroni). So the points without a
curve that are in use beside those with one are certified anew, at their smaller share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from models.profile.certificate import ByClass
from models.profile.give_up import GiveUpCurve, check_ladder
from models.profile.levers.ladder import Counts, LevelTable, certify_levels, nested, short_of

CurveTable: TypeAlias = LevelTable  # [curve, class, threshold, budget]
LEVELS = "curves"


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUpTables:
    """The tables of points with a lower curve. `harmed` and what follows begin with the points that have none."""

    curves: tuple[GiveUpCurve, ...]  # lowest first
    medians: tuple[float, ...]  # by class: tokens of the median full thought, in which curves count
    fitted: int  # questions whose thoughts gave the medians, and that certify nothing
    tokens: CurveTable  # mean token rows of a request
    accuracy: CurveTable  # share of right answers
    p95_steps: CurveTable  # 95th percentile of a request's decode steps
    # [without, then curve][threshold][budget]: questions with the full thought right and some exit within wrong
    harmed: tuple[tuple[tuple[int, ...], ...], ...]
    bounds: tuple[tuple[tuple[float, ...], ...], ...]  # upper bounds of the risk, all of them at once
    certified: tuple[tuple[tuple[bool, ...], ...], ...]  # whether the corner's risk is at most ε, at confidence 1 − δ
    by_class: tuple[ByClass, ...]  # what an account of risk must know: without a curve, then with each
    unplaced: str | None = None  # why the medians place no curve; None: they do
    refused: str | None = None  # why no point with a curve is certified, whatever the bounds; None: the bounds decide

    def __post_init__(self) -> None:
        check_ladder(self.curves)
        shape = np.shape(self.harmed)[1:]
        for name in ("harmed", "bounds", "certified"):
            if (found := np.shape(getattr(self, name))) != (1 + len(self.curves), *shape):
                raise ValueError(f"{name} has shape {found}, must be {1 + len(self.curves)} of {shape}: curves, and 1")
        if len(self.by_class) != 1 + len(self.curves):
            raise ValueError(
                f"by_class has {len(self.by_class)} entries, must have {1 + len(self.curves)}: curves, and 1"
            )
        wanted = (len(self.curves), len(self.medians), *shape)
        for name in ("tokens", "accuracy", "p95_steps"):
            if (found := np.shape(getattr(self, name))) != wanted:
                raise ValueError(f"{name} has shape {found}, must be {wanted}: curves, classes, thresholds and budgets")

    def at_risk(self, epsilon: float, delta: float, count: int) -> GiveUpTables:
        """Returns the tables certified at another risk, on the same `count` questions."""
        columns = len(self.harmed) * len(self.harmed[0][0])
        refused = self.unplaced or short_of(columns, epsilon, delta, count, LEVELS)
        bounds, certified = certify_levels(np.array(self.harmed), count, epsilon, delta)
        return replace(
            self,
            bounds=nested(bounds),
            certified=nested(certified if refused is None else np.zeros_like(certified)),
            refused=refused,
        )

    def within_bounds(self, bounds: npt.NDArray[np.float64], epsilon: float) -> GiveUpTables:
        """Returns the tables with other upper bounds, of which those up to `epsilon` certify."""
        refused, certified = self.unplaced, bounds <= epsilon
        if refused is None and not certified[1:, 1:].any():
            refused = f"no curve has a bound of {epsilon:g} or less, by bounds that hold for all corners at once"
        if refused is not None:
            certified[1:] = False
        return replace(self, bounds=nested(bounds), certified=nested(certified), refused=refused)


def give_up_tables(
    *,
    curves: Sequence[GiveUpCurve],
    medians: Sequence[float],
    fitted: int,
    tokens: CurveTable,
    accuracy: CurveTable,
    p95_steps: CurveTable,
    harmed: Counts,
    count: int,
    epsilon: float,
    delta: float,
    by_class: Sequence[ByClass],
    unplaced: str | None = None,
) -> GiveUpTables:
    """Returns the tables, certified on `count` questions; `unplaced`: why the medians place no curve; None: they do."""
    refused = unplaced or short_of(harmed.shape[0] * harmed.shape[2], epsilon, delta, count, LEVELS)
    bounds, certified = certify_levels(harmed, count, epsilon, delta)
    return GiveUpTables(
        curves=tuple(curves),
        medians=tuple(medians),
        fitted=fitted,
        tokens=tokens,
        accuracy=accuracy,
        p95_steps=p95_steps,
        harmed=nested(harmed),
        bounds=nested(bounds),
        certified=nested(certified if refused is None else np.zeros_like(certified)),
        by_class=tuple(by_class),
        unplaced=unplaced,
        refused=refused,
    )
