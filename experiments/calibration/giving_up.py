"""Tabulates giving up on recorded thoughts: the points with a lower curve, and what is certified of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.base import ProbeSpec
from experiments.calibration.by_class import counts_by_class, means_by_class, p95_by_class
from experiments.calibration.grid import grid
from experiments.calibration.traces import ClosedReply, ThoughtTrace
from models.profile.give_up import LADDER, GiveUpCurve, GiveUpLimit
from models.profile.give_up_tables import GiveUpTables, give_up_tables
from models.profile.profile import Table

FEWEST_FITTED = 8  # questions of each class that must give its median
THIN = "to place the curves by their medians"

Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Medians:
    """The classes' median full thoughts, of questions that certify nothing."""

    by_class: tuple[float, ...]  # tokens
    fitted: int  # questions
    refused: str | None  # why they place no curve; None: they do


def class_medians(
    traces: Sequence[ThoughtTrace], member: Truths, fitting: Collection[int], names: Sequence[str]
) -> Medians:
    """Returns the medians of the questions with the numbers `fitting`; `member` is [class, trace].

    A class with fewer than FEWEST_FITTED gets the median of all traces, and then no curve is certified.
    """
    lengths = np.array([max(1, len(one.thought)) for one in traces], dtype=np.float64)
    counted = np.isin([one.number for one in traces], list(fitting))
    medians, thin = [], []
    for name, mine in zip(names, member & counted, strict=True):
        enough = int(mine.sum()) >= FEWEST_FITTED
        medians.append(float(np.median(lengths[mine] if enough else lengths)))
        if not enough:
            thin.append(f"{int(mine.sum())} {name}")
    refused = None
    if thin:
        refused = (
            f"{', '.join(thin)} questions certify nothing, must be at least {FEWEST_FITTED} of each class {THIN}: "
            "let the calibration choose the budgets"
        )
    return Medians(by_class=tuple(medians), fitted=int(counted.sum()), refused=refused)


def tabulated(
    traces: Sequence[ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    spec: ProbeSpec,
    *,
    thresholds: Sequence[float],
    budgets: Sequence[int],
    medians: Medians,
    member: Truths,
    unseen: Sequence[int],
    epsilon: float,
    delta: float,
    curves: Sequence[GiveUpCurve] = LADDER,
) -> GiveUpTables:
    """Replays every curve at every threshold and budget; the questions with the numbers `unseen` certify.

    `member` is [class, trace]: the class of each as told from its prompt.
    """
    classes = member.argmax(axis=0)
    counted = np.isin([one.number for one in traces], unseen)
    tokens: list[Table] = []
    accuracy: list[Table] = []
    steps: list[Table] = []
    plain = grid(traces, closings, thresholds, budgets, spec)
    harmed, by_class = [plain.harmed[counted].sum(axis=0)], [counts_by_class(plain, member & counted)]
    for curve in curves:
        limits = [GiveUpLimit(curve=curve, median=medians.by_class[d]) for d in classes]
        found = grid(traces, closings, thresholds, budgets, spec, limits)
        tokens.append(means_by_class(found.tokens.astype(np.float64), member))
        accuracy.append(means_by_class(found.right.astype(np.float64), member))
        steps.append(p95_by_class(found.steps, member))
        harmed.append(found.harmed[counted].sum(axis=0))
        by_class.append(counts_by_class(found, member & counted))
    return give_up_tables(
        curves=curves,
        medians=medians.by_class,
        fitted=medians.fitted,
        tokens=tuple(tokens),
        accuracy=tuple(accuracy),
        p95_steps=tuple(steps),
        harmed=np.stack(harmed),
        count=int(counted.sum()),
        epsilon=epsilon,
        delta=delta,
        by_class=by_class,
        unplaced=medians.refused,
    )
