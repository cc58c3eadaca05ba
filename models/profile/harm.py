"""What exits may harm, as bounds that hold for all corners at once: what an account of risk charges.

A corner is a lower curve, a threshold and a budget, as places in the profile's tables, strictest first: 0 is no curve.
Which corner a request meets depends on the load, so a bound of one corner alone is not enough: with probability at
least 1 − δ all bounds here hold together (Bonferroni). A column of budgets gets half of the δ that the longer budgets
leave, since long budgets are used most; its corners share it. The risk grows with the corner, so a bound is never above
that of a laxer corner.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.profile.certificate import ByClass, Certificate, Counts, upper_bound
from models.profile.give_up_tables import GiveUpTables

Array = npt.NDArray[np.float64]

Corner = tuple[int, int, int]
"""Places of a lower curve, a threshold and a budget in the profile's tables, strictest first."""

OWN_BOUNDS = 4000  # questions of every class from which on each class has its own bounds
ALIVE_SHARE = 0.1  # of δ, for the shares of thoughts that still run


def simultaneous(harmed: Counts, count: int, delta: float) -> Array:
    """Returns upper bounds of the risk that hold together with confidence 1 − `delta`.

    Both are [curve, threshold, budget]. `harmed`: questions of `count` with the full thought right and some exit within
    the corner wrong. What is never probed has no curve: with every one of them it is the same corner.
    """
    curves, rows, columns = harmed.shape
    corners = [(c, i) for c in range(curves) for i in range(rows) if i > 0 or c == 0]
    table = np.full(harmed.shape, np.inf)
    left = delta
    for j in range(columns):
        tested = [corner for corner in corners if (*corner, j) != (0, 0, 0)]  # the full thought is itself
        if not tested:
            continue
        mine = left / 2.0 if j < columns - 1 else left
        left -= mine
        known = {k: upper_bound(k, count, mine / len(tested)) for k in set(harmed[:, :, j].ravel().tolist())}
        for c, i in tested:
            table[c, i, j] = known[int(harmed[c, i, j])]
    for axis in range(3):
        table = np.flip(np.minimum.accumulate(np.flip(table, axis), axis=axis), axis)
    table[0, 0, 0] = 0.0
    table[1:, 0] = table[0, 0]
    return table


def least_share(alive: int, count: int, delta: float) -> float:
    """Returns the Clopper-Pearson lower bound of the share of which `alive` of `count` were seen."""
    return 1.0 - upper_bound(count - alive, count, delta)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Harm:
    """The bounds of a certificate."""

    bounds: Array  # [class, curve, threshold, budget]; the same for every class unless `own`
    own: bool  # whether each class has its own bounds; else one corner counts for all classes, the laxest in force
    ages: tuple[int, ...]  # tokens of a running thought, rising; empty: not recorded
    alive: Array  # [class, curve, threshold, age]: least share of thoughts that still run then, without a budget

    @classmethod
    def of(cls, certificate: Certificate, classes: int, give_up: GiveUpTables | None = None) -> Harm:
        """Returns the bounds that the certificate's questions give for so many `classes`.

        `give_up`: the profile's lower curves, if they are in use; None: no thought is given up.
        """
        seen: tuple[ByClass, ...] = ()
        if give_up is not None:
            seen = give_up.by_class
        elif certificate.evidence is not None and certificate.evidence.by_class is not None:
            seen = (certificate.evidence.by_class,)
        own = bool(seen) and min(seen[0].counts) >= OWN_BOUNDS
        harms = (1.0 - ALIVE_SHARE) * certificate.delta
        if own:
            counted = np.array([level.harmed for level in seen])  # [curve, class, threshold, budget]
            each = [simultaneous(counted[:, d], seen[0].counts[d], harms / classes) for d in range(classes)]
        else:
            pooled = np.array([certificate.harmed] if give_up is None else give_up.harmed)
            each = [simultaneous(pooled, certificate.count, harms)] * classes
        alive = _alive(seen, certificate.delta, own, classes)
        return cls(bounds=np.array(each), own=own, ages=seen[0].ages if seen else (), alive=alive)

    def share_alive(self, place: int, corner: Corner, age: int) -> float | None:
        """Returns the least share of a class's thoughts that run at `age` within a corner; None: not recorded.

        `place`: of the class. The corner's budget counts for nothing.
        """
        at = bisect_left(self.ages, age)  # fewer thoughts run later
        return None if at == len(self.ages) else float(self.alive[place, corner[0], corner[1], at])


def _alive(seen: Sequence[ByClass], delta: float, own: bool, classes: int) -> Array:
    if not seen or not seen[0].ages:
        return np.zeros((classes, max(1, len(seen)), 1, 0))
    counts, totals = np.array([level.alive for level in seen]).swapaxes(0, 1), np.array(seen[0].counts)
    if not own:
        counts, totals = counts.sum(axis=0)[None], totals.sum()[None]
    share = ALIVE_SHARE * delta / counts.size
    found = np.empty(counts.shape)
    for d, total in enumerate(totals.tolist()):
        known = {alive: least_share(alive, total, share) for alive in set(counts[d].ravel().tolist())}
        found[d] = np.vectorize(known.__getitem__, otypes=[np.float64])(counts[d])
    return np.broadcast_to(found, (classes, *found.shape[1:]))
