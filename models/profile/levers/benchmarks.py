"""What exits harm in each benchmark, or family of questions, apart: so that no family pays for another.

The pooled certificate bounds the risk over the calibration's mix of benchmarks. Here the risk of a corner is that of
the benchmark that it harms most. It is at most ε where every benchmark's own bound is. Of all these tests, the one of
the benchmark that is harmed most must fail for a corner that is certified wrongly; so they share no δ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.profile.certificate import upper_bound
from models.profile.harm import simultaneous

Array = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ByBenchmark:
    """The certificate's questions by benchmark."""

    names: tuple[str, ...]  # of the benchmarks, in the order of the alphabet
    counts: tuple[int, ...]  # questions of each benchmark
    harmed: tuple[tuple[tuple[int, ...], ...], ...]  # [benchmark, threshold, budget], as the certificate's

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.counts) == len(self.harmed) > 0:
            raise ValueError(
                f"names, counts and harmed have {len(self.names)}, {len(self.counts)} and {len(self.harmed)} entries, "
                "must have as many, and at least 1"
            )

    def bounds(self, delta: float) -> Array:
        """Returns upper bounds of each benchmark's risk, [benchmark, threshold, budget], by column of budgets."""
        columns = len(self.harmed[0][0])
        found = np.array(
            [
                [[upper_bound(harmed, count, delta / columns) for harmed in row] for row in table]
                for table, count in zip(self.harmed, self.counts, strict=True)
            ]
        )
        found[:, 0, 0] = 0.0  # the full thought is compared with itself
        return found

    def worst(self, delta: float) -> Array:
        """Returns the upper bounds of the benchmark that is harmed most, [threshold, budget]."""
        return np.asarray(self.bounds(delta).max(axis=0))

    def certified(self, epsilon: float, delta: float) -> Truths:
        """Returns the corners at which every benchmark's risk is at most ε with confidence 1 − δ.

        In each column the first threshold at which some benchmark's bound is above ε ends the column.
        """
        passed = np.logical_and.accumulate(self.worst(delta) <= epsilon, axis=0)
        return np.asarray(np.logical_and.accumulate(passed, axis=1))

    def charges(self, delta: float) -> Array:
        """Returns bounds of the worst benchmark's risk that hold for all corners at once, [threshold, budget]."""
        share = delta / len(self.names)
        counted = zip(self.harmed, self.counts, strict=True)
        each = np.array([simultaneous(np.array([table]), count, share)[0] for table, count in counted])
        return np.asarray(each.max(axis=0))


def by_benchmark(harmed: Truths, labels: Sequence[str]) -> ByBenchmark:
    """Counts questions [question, threshold, budget] by their benchmark's name."""
    names = tuple(sorted(set(labels)))
    member = np.array([[label == name for label in labels] for name in names])
    return ByBenchmark(
        names=names,
        counts=tuple(int(mine.sum()) for mine in member),
        harmed=tuple(tuple(map(tuple, harmed[mine].sum(axis=0).tolist())) for mine in member),
    )
