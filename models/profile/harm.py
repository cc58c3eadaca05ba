"""What exits may harm, as bounds that hold for all corners at once: what an account of risk charges.

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

from models.profile.certificate import Bounds, ByClass, Certificate, upper_bound

Array = npt.NDArray[np.float64]

OWN_BOUNDS = 4000  # questions of every class from which on each class has its own bounds
ALIVE_SHARE = 0.1  # of δ, for the shares of thoughts that still run


def simultaneous(harmed: Sequence[Sequence[int]], count: int, delta: float) -> Bounds:
    """Returns upper bounds [threshold, budget] of the risk that hold together with confidence 1 − `delta`.

    `harmed`: questions of `count` with the full thought right and some exit within the corner wrong.
    """
    rows, columns = len(harmed), len(harmed[0])
    table = np.zeros((rows, columns))
    left = delta
    for j in range(columns):
        mine = left / 2.0 if j < columns - 1 else left
        left -= mine
        corners = [(i, j) for i in range(rows) if (i, j) != (0, 0)]  # the full thought is compared with itself
        for i, j in corners:
            table[i, j] = upper_bound(int(harmed[i][j]), count, mine / len(corners))
    for axis in (0, 1):
        table = np.flip(np.minimum.accumulate(np.flip(table, axis), axis=axis), axis)
    table[0, 0] = 0.0
    return tuple(tuple(row) for row in table.tolist())


def least_share(alive: int, count: int, delta: float) -> float:
    """Returns the Clopper-Pearson lower bound of the share of which `alive` of `count` were seen."""
    return 1.0 - upper_bound(count - alive, count, delta)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Harm:
    """The bounds of a certificate. Corners are places [threshold, budget] in the profile's tables."""

    bounds: Array  # [class, threshold, budget]; the same for every class unless `own`
    own: bool  # whether each class has its own bounds; else one corner counts for all classes, the laxest in force
    ages: tuple[int, ...]  # tokens of a running thought, rising; empty: not recorded
    alive: Array  # [class, threshold, age]: least share of thoughts that still run then, without a budget

    @classmethod
    def of(cls, certificate: Certificate, classes: int) -> Harm:
        """Returns the bounds that the certificate's questions give for so many `classes`."""
        seen = None if certificate.evidence is None else certificate.evidence.by_class
        own = seen is not None and min(seen.counts) >= OWN_BOUNDS
        harms = (1.0 - ALIVE_SHARE) * certificate.delta
        if seen is not None and own:
            each = [
                simultaneous(harmed, count, harms / classes)
                for harmed, count in zip(seen.harmed, seen.counts, strict=True)
            ]
        else:
            each = [simultaneous(certificate.harmed, certificate.count, harms)] * classes
        ages = () if seen is None else seen.ages
        return cls(bounds=np.array(each), own=own, ages=ages, alive=_alive(seen, certificate, own, classes))

    def share_alive(self, place: int, threshold: int, age: int) -> float | None:
        """Returns the least share of a class's thoughts that run at `age` under a threshold; None: not recorded.

        `place`: of the class; `threshold`: its place in the profile's table.
        """
        at = bisect_left(self.ages, age)  # fewer thoughts run later
        return None if at == len(self.ages) else float(self.alive[place, threshold, at])


def _alive(seen: ByClass | None, certificate: Certificate, own: bool, classes: int) -> Array:
    rows = len(certificate.harmed)
    if seen is None or not seen.ages:
        return np.zeros((classes, rows, 0))
    counts, totals = np.array(seen.alive), np.array(seen.counts)
    if not own:
        counts, totals = counts.sum(axis=0)[None], totals.sum()[None]
    delta = ALIVE_SHARE * certificate.delta / counts.size
    found = [
        [[least_share(int(alive), int(total), delta) for alive in row] for row in table]
        for table, total in zip(counts, totals, strict=True)
    ]
    return np.broadcast_to(np.array(found), (classes, rows, len(seen.ages)))
