"""The token rows that a request still needs, predicted from a profile's class tables and the service attained. Pure.

A request's rows X are taken to be lognormal. Their mean is the class's at the limits in force, scaled by how much
longer a thought the prompt lets expect than the class's prompts do; their spread is the class's there. After r rows
the rest is the mean excess

    E[X − r | X > r] = M·Φ((μ + σ² − ln r) / σ) / Φ((μ − ln r) / σ) − r        M = exp(μ + σ²/2)
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controller.policy import Limits
from models.profile.give_up import GiveUpCurve
from models.profile.give_up_tables import CurveTable
from models.profile.profile import Profile, Table

LEAST = 1.0  # rows that are left of a request that goes on
RARE = 1e-9  # share of requests below which the mean excess is taken from its limit


@dataclass(frozen=True, slots=True, kw_only=True)
class RowForecast:
    """What a profile tells of requests' rows.

    Tables are [curve, class, threshold, budget]: first without a lower curve, then with each; the last class is all
    together.
    """

    classes: tuple[str, ...]
    thresholds: tuple[float | None, ...]  # strictest first; None: never probed
    budgets: tuple[int | None, ...]  # longest first; None: no budget
    curves: tuple[GiveUpCurve | None, ...]  # below which thoughts are given up, lowest first; None: none is
    mean: CurveTable  # rows
    spread: Table  # σ of the log rows, the same under every curve
    usual_rows: float  # mean of all classes at the cheapest certified point: where requests queue, exits are lax
    answer_rows: float  # of a reply beyond its thought, about: what thoughts of the shortest budget cost more than that
    prices: tuple[float, ...] = ()  # at which thoughts are closed by their index, rising; empty: none is tabulated
    priced: Table = ()  # rows [class, price, budget]: never probed, then at each price

    @classmethod
    def of(cls, profile: Profile) -> RowForecast:
        """Returns the forecast of a profile."""
        counts = np.array(profile.counts, dtype=np.float64)
        lower, priced = profile.give_up, profile.index
        by_price = np.array(profile.tokens if priced is None else priced.tokens)
        tokens = np.array([profile.tokens, *(() if lower is None else lower.tokens)])
        mean = np.concatenate((tokens, np.average(tokens, axis=1, weights=counts)[:, None]), axis=1)
        square = np.array(profile.square)
        square = np.concatenate((square, np.average(square, axis=0, weights=counts)[None]))
        cv2 = np.maximum(square / np.square(mean[0]) - 1.0, 0.0)
        shortest = profile.budgets[-1]
        beyond = LEAST if shortest is None else float(mean[0][-1][0][-1]) - shortest
        return cls(
            classes=profile.classes,
            thresholds=profile.thresholds,
            budgets=profile.budgets,
            curves=(None, *(() if lower is None else lower.curves)),
            mean=tuple(map(_rows, mean)),
            spread=_rows(np.sqrt(np.log1p(cv2))),
            prices=() if priced is None else priced.prices,
            priced=_rows(np.concatenate((by_price, np.average(by_price, axis=0, weights=counts)[None]))),
            usual_rows=float(np.average(profile.tables().tokens, axis=0, weights=counts).min()),
            answer_rows=max(LEAST, beyond),
        )

    def rows(self, difficulty: str | None, limits: Limits, *, length: float = 0.0, attained: float = 0.0) -> float:
        """Returns the rows that a request still needs after `attained` ones, at least LEAST.

        `difficulty`: its class, None: unknown; `length`: the thought that its prompt lets expect at full length,
        tokens, 0: unknown.
        """
        at = self.classes.index(difficulty) if difficulty in self.classes else -1
        i, j = self._point(limits)
        curve = None if limits.give_up is None else limits.give_up.curve
        c = self.curves.index(curve) if curve in self.curves else 0
        mean, spread = self.mean[c][at][i][j], self.spread[at][i][j]
        if limits.index is not None and limits.index.price in self.prices:
            mean = self.priced[at][1 + self.prices.index(limits.index.price)][j]
        most = math.inf if limits.budget is None else limits.budget + self.answer_rows
        if limits.budget == self.budgets[j]:  # else it is shorter than the tables' next
            most = max(most, mean)  # of this class
        if length > 0.0:
            mean = max(LEAST, mean * length / self.mean[0][at][0][0])
        return max(LEAST, min(mean_excess(mean, spread, attained), most - attained))

    def _point(self, limits: Limits) -> tuple[int, int]:
        """Returns where the tables hold the laxest point that is at least as strict as the limits."""
        i = _last_above(self.thresholds, limits.threshold)
        return i, _last_above(self.budgets, limits.budget)


def mean_excess(mean: float, spread: float, attained: float) -> float:
    """Returns E[X − r | X > r] of a lognormal X of this mean and σ, r being what is `attained`."""
    if attained < 1.0 or math.isinf(mean):  # no row, or no end is foretold
        return mean
    if spread <= 0.0:
        return max(0.0, mean - attained)
    deviations = (math.log(attained / mean) + spread * spread / 2.0) / spread  # (ln r − μ) / σ
    longer = _above(deviations)
    if longer < RARE:  # the hazard of X is about (ln r − μ) / (σ² r) there
        return attained * spread / deviations
    return mean * _above(deviations - spread) / longer - attained


def _above(deviations: float) -> float:
    return math.erfc(deviations / math.sqrt(2.0)) / 2.0


def _last_above(ladder: tuple[float | None, ...] | tuple[int | None, ...], value: float | None) -> int:
    """Returns the place of the falling ladder's last step that is not below `value`; None is above all."""
    return 0 if value is None else bisect_right(ladder, -value, key=_rising) - 1


def _rising(step: float | None) -> float:
    return -math.inf if step is None else -step


def _rows(table: npt.NDArray[np.float64]) -> Table:
    return tuple(tuple(tuple(float(one) for one in row) for row in rows) for rows in table)
