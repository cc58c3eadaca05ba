"""What questions cost, gain and harm at every point, as tables by difficulty class, or by benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from experiments.calibration.grid import Grid
from experiments.calibration.traces import ThoughtTrace
from models.profile.certificate import ByClass
from models.profile.difficulty import learn
from models.profile.levers.benchmarks import ByBenchmark, by_benchmark
from models.profile.profile import Profile, Table

# tokens of running thoughts: half an octave apart, so that no outcome chooses them
AGES = tuple(round(16 * 2 ** (step / 2)) for step in range(24))

Values = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


def members_of(profile: Profile, traces: Sequence[ThoughtTrace], observed: Sequence[str] | None) -> Truths:
    """Returns [class, trace], whether the trace is of the class.

    `observed`: each trace's class, as a classifier told it that had not seen the question; None: it is learnt again.
    """
    if observed is None:
        observed = learn([one.prompt for one in traces], [max(1, len(one.thought)) for one in traces]).observed
    return np.array([[told == name for told in observed] for name in profile.classes])


def means_by_class(values: Values, member: Truths) -> Table:
    """Returns the means of `values` [question, threshold, budget] of each class; `member` is [class, question]."""
    return _table(np.stack([_members(values, mine).mean(axis=0) for mine in member]))


def p95_by_class(steps: npt.NDArray[np.int64], member: Truths) -> Table:
    """Returns the 95th percentiles of `steps` [question, threshold, budget] of each class."""
    values = steps.astype(np.float64)
    return _table(np.stack([np.percentile(_members(values, mine), 95, axis=0) for mine in member]))


def counts_by_class(replayed: Grid, member: Truths) -> ByClass:
    """Returns what an account of risk must know of the questions `member` [class, question]."""
    running = replayed.ends[:, :, None] > np.array(AGES)  # [question, threshold, age]
    return ByClass(
        counts=tuple(int(count) for count in member.sum(axis=1)),
        harmed=_counted(replayed.harmed, member),
        ages=AGES,
        alive=_counted(running, member),
    )


def _members(values: Values, mine: Truths) -> Values:
    return values[mine] if mine.any() else values  # a class without questions gets the figures of all: its count is 0


def _table(values: Values) -> Table:
    return tuple(tuple(tuple(row) for row in table) for table in values.tolist())


def _counted(truths: Truths, member: Truths) -> tuple[tuple[tuple[int, ...], ...], ...]:
    tables = [truths[mine].sum(axis=0).tolist() for mine in member]
    return tuple(tuple(tuple(row) for row in table) for table in tables)


def apart(
    replayed: Grid,
    traces: Sequence[ThoughtTrace],
    unseen: Sequence[int],
    benchmarks: Mapping[int, str],
    member: Truths,
) -> ByBenchmark:
    """Returns the harm of the questions `unseen` by benchmark, and by class; `member` is [class, question]."""
    counted = np.isin([one.number for one in traces], unseen)
    labels = [benchmarks[one.number] for one, counts in zip(traces, counted, strict=True) if counts]
    return by_benchmark(replayed.harmed[counted], labels, member[:, counted])
