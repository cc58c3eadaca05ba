"""What each threshold would do, replayed on recorded full thoughts: its accuracy, its net tokens and its risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.reasoner.aims import THRESHOLDS
from benchmarks.reasoner.evidence import Numbers, ReasonerEvidence
from experiments.calibration.grid import Grid, grid
from experiments.statistics import Difference, Proportion, difference, proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedThreshold:
    """The figures of a threshold on some questions."""

    threshold: float | None  # None: the full thought, not probed
    accuracy: float
    against: Difference  # to the full thought
    tokens: float  # token rows decoded for a reply, those of probes included
    times: float  # tokens of the full thought by these
    risk: Proportion  # worst-exit risk: full thought right, and some probe of this confidence wrong


def replayed(found: ReasonerEvidence) -> Grid:
    """Replays all thresholds on all questions, as a calibration does: [question, threshold, 1], strictest first."""
    return grid(found.traces, {}, THRESHOLDS, (), found.spec)


def threshold_table(points: Grid, places: Numbers, seed: int = 0) -> tuple[ReplayedThreshold, ...]:
    """Returns the figures of all thresholds on the questions at some places, the full thought's first."""
    right, harmed, tokens = points.right[places, :, 0], points.harmed[places, :, 0], points.tokens[places, :, 0]
    full = float(tokens[:, 0].mean())
    return tuple(
        ReplayedThreshold(
            threshold=threshold,
            accuracy=float(right[:, row].mean()),
            against=difference(right[:, 0], right[:, row], np.random.default_rng(seed)),
            tokens=float(tokens[:, row].mean()),
            times=full / float(tokens[:, row].mean()),
            risk=proportion(harmed[:, row]),
        )
        for row, threshold in enumerate(points.thresholds)
    )


def at(table: Sequence[ReplayedThreshold], threshold: float) -> ReplayedThreshold:
    """Returns a threshold's figures."""
    return next(one for one in table if one.threshold == threshold)


def laxest_within(table: Sequence[ReplayedThreshold], risk: float) -> ReplayedThreshold:
    """Returns the laxest threshold whose observed risk is at most `risk`; the full thought, where none is.

    The risk never falls from a stricter threshold to a laxer one.
    """
    return [one for one in table if one.risk.share <= risk][-1]
