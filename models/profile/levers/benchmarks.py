"""What exits harm in each benchmark, or family of questions, apart: so that no family pays for another.

The pooled certificate bounds the risk over the calibration's mix of benchmarks. Here the risk of a corner is that of
the benchmark that it harms most. It is at most ε where every benchmark's own bound is. Of all these tests, the one of
the benchmark that is harmed most must fail for a corner that is certified wrongly; so they share no δ.

Within a class one family may pay for another, too. So a benchmark that has OWN_BOUNDS questions or more in a difficulty
class is tested there as well. These tests share no δ either, since all classes have the same points: for a wrong one
the test of the worst benchmark in the worst class must fail. A benchmark with fewer questions in a class has no test
there: they count in its own over all classes, and in that alone.

An account charges each class for its own worst benchmark only if none that occurs in a class has fewer, if but one
question: a bound over all classes says nothing of one, and holds for a corner that all of them stay within.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.profile.certificate import upper_bound
from models.profile.harm import ALIVE_SHARE, OWN_BOUNDS, Harm, simultaneous

Array = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]
Counted = tuple[tuple[tuple[int, ...], ...], ...]  # [benchmark, threshold, budget], questions


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarksByClass:
    """The certificate's questions by difficulty class and benchmark."""

    counts: tuple[tuple[int, ...], ...]  # [class, benchmark], questions
    harmed: tuple[tuple[tuple[tuple[int, ...], ...], ...], ...]  # [class, benchmark, threshold, budget]

    @property
    def fewest(self) -> tuple[int, int]:
        """The class and the benchmark, as places, of which there are fewest questions, but some."""
        table = np.array(self.counts)
        at = int(np.where(table > 0, table, np.iinfo(np.int64).max).argmin())
        return at // table.shape[1], at % table.shape[1]

    @property
    def enough(self) -> bool:
        """Whether every class has questions, and OWN_BOUNDS or more of each benchmark that occurs in it."""
        return all(map(any, self.counts)) and min(count for row in self.counts for count in row if count) >= OWN_BOUNDS


@dataclass(frozen=True, slots=True, kw_only=True)
class ByBenchmark:
    """The certificate's questions by benchmark."""

    names: tuple[str, ...]  # of the benchmarks, in the order of the alphabet
    counts: tuple[int, ...]  # questions of each benchmark
    harmed: tuple[tuple[tuple[int, ...], ...], ...]  # [benchmark, threshold, budget], as the certificate's
    by_class: BenchmarksByClass | None = None  # the same by difficulty class; None: calibrated before it was kept

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.counts) == len(self.harmed) > 0:
            raise ValueError(
                f"names, counts and harmed have {len(self.names)}, {len(self.counts)} and {len(self.harmed)} entries, "
                "must have as many, and at least 1"
            )
        for name in () if self.by_class is None else ("counts", "harmed"):
            if not np.array_equal(np.sum(getattr(self.by_class, name), axis=0), getattr(self, name)):
                raise ValueError(f"by_class.{name} must add up to {name}, class by class, and does not")

    def check_classes(self, count: int) -> None:
        """Raises ValueError if questions were counted by class, and not by so many classes."""
        if self.by_class is not None and len(self.by_class.counts) != count:
            raise ValueError(f"benchmarks.by_class has {len(self.by_class.counts)} classes, must have {count}")

    def of_classes(self) -> tuple[ByBenchmark | None, ...]:
        """Returns the benchmarks with OWN_BOUNDS questions or more in each class, easiest class first.

        None: there is none in the class. Empty: questions were not counted by class.
        """
        if self.by_class is None:
            return ()
        counted = zip(self.by_class.counts, self.by_class.harmed, strict=True)
        return tuple(_of_class(self.names, counts, harmed) for counts, harmed in counted)

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

        So it is within each class, of the benchmarks `of_classes`. In each column the first threshold at which some
        bound is above ε ends the column.
        """
        tested = (self, *(one for one in self.of_classes() if one is not None))
        worst = np.max([one.worst(delta) for one in tested], axis=0)
        passed = np.logical_and.accumulate(worst <= epsilon, axis=0)
        return np.asarray(np.logical_and.accumulate(passed, axis=1))

    def charges(self, delta: float) -> Array:
        """Returns bounds of the worst benchmark's risk that hold for all corners at once, [threshold, budget]."""
        share = delta / len(self.names)
        counted = zip(self.harmed, self.counts, strict=True)
        each = np.array([simultaneous(np.array([table]), count, share)[0] for table, count in counted])
        return np.asarray(each.max(axis=0))

    def charging(self, found: Harm, delta: float) -> Harm:
        """Returns what an account charges of a certificate with δ if the worst benchmark counts, never below `found`.

        Charges are by class if those `found` are, and there are questions `enough`. Else one corner counts for all
        classes, the laxest in force. Who runs on pays for nothing more: how few of each benchmark's thoughts live so
        long was not counted.
        """
        found, harms = replace(found, ages=()), (1.0 - ALIVE_SHARE) * delta
        if found.own and self.by_class is not None and self.by_class.enough:
            share = harms / len(self.by_class.counts)
            own = [one.charges(share) for one in self.of_classes() if one is not None]
            return replace(found, bounds=np.maximum(found.bounds, np.array(own)[:, None]))
        pooled = np.maximum(found.bounds.max(axis=0), self.charges(harms))
        return replace(found, bounds=np.broadcast_to(pooled, found.bounds.shape), own=False)


def by_benchmark(harmed: Truths, labels: Sequence[str], member: Truths | None = None) -> ByBenchmark:
    """Counts questions [question, threshold, budget] by their benchmark's name.

    `member`: [class, question], whether a question is of a class; None: they are not counted by class.
    """
    names = tuple(sorted(set(labels)))
    named = np.array([[label == name for label in labels] for name in names])
    by_class = None
    if member is not None:
        by_class = BenchmarksByClass(
            counts=tuple(_sizes(named & mine) for mine in member),
            harmed=tuple(_counted(harmed, named & mine) for mine in member),
        )
    return ByBenchmark(names=names, counts=_sizes(named), harmed=_counted(harmed, named), by_class=by_class)


def _of_class(names: Sequence[str], counts: Sequence[int], harmed: Counted) -> ByBenchmark | None:
    kept = [b for b, count in enumerate(counts) if count >= OWN_BOUNDS]
    if not kept:
        return None
    return ByBenchmark(
        names=tuple(names[b] for b in kept),
        counts=tuple(counts[b] for b in kept),
        harmed=tuple(harmed[b] for b in kept),
    )


def _sizes(members: Truths) -> tuple[int, ...]:
    return tuple(int(mine.sum()) for mine in members)


def _counted(harmed: Truths, members: Truths) -> Counted:
    return tuple(tuple(map(tuple, harmed[mine].sum(axis=0).tolist())) for mine in members)
