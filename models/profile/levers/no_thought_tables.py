"""What answering at once costs and saves at every point of a profile, and which cut-offs are certified.

A cut-off is a score of the switch: prompts whose score reaches it are answered without thought. The risk of a corner
(cut-off, threshold, budget) is P(the full thought is right, and either the score reaches the cut-off and the answer
without thought is wrong, or some exit within the corner is wrong). The ladder of cut-offs is fixed, not chosen by the
questions.

The scores are cross-fitted: each question's is of a switch that has not seen it. The switch that serves has seen all of
them, a quarter more than each of those, so the certificate is of switches like it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from models.profile.levers.ladder import Counts, LevelTable, certify_levels, nested, short_of
from models.profile.levers.switch import Switch

CUT_OFFS = (0.99, 0.95, 0.9, 0.8, 0.6)
"""Scores from which prompts are answered at once, strictest first."""
LEVELS = "cut-offs"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoThoughtTables:
    """The tables of points with a cut-off. `harmed` and what follows begin with the points that have none."""

    switch: Switch
    cut_offs: tuple[float, ...]  # scores from which prompts are answered at once, highest first
    skipped: tuple[float, ...]  # by cut-off: share of the questions that are answered at once
    tokens: LevelTable  # mean token rows of a request
    accuracy: LevelTable  # share of right answers
    p95_steps: LevelTable  # 95th percentile of a request's decode steps
    # [without, then cut-off][threshold][budget]: questions with the full thought right, and the answer without thought
    # wrong from the cut-off on, or some exit within wrong
    harmed: tuple[tuple[tuple[int, ...], ...], ...]
    bounds: tuple[tuple[tuple[float, ...], ...], ...]  # upper bounds of the risk, all of them at once
    certified: tuple[tuple[tuple[bool, ...], ...], ...]  # whether the corner's risk is at most ε, at confidence 1 − δ
    refused: str | None = None  # why no point with a cut-off is certified, whatever the bounds; None: the bounds decide

    def __post_init__(self) -> None:
        check_cut_offs(self.cut_offs)
        if len(self.skipped) != len(self.cut_offs):
            raise ValueError(f"skipped has {len(self.skipped)} entries, must have {len(self.cut_offs)}: one a cut-off")
        shape = np.shape(self.harmed)[1:]
        for name in ("harmed", "bounds", "certified"):
            if (found := np.shape(getattr(self, name))) != (1 + len(self.cut_offs), *shape):
                raise ValueError(f"{name} has shape {found}, must be {1 + len(self.cut_offs)} of {shape}")
        for name in ("tokens", "accuracy", "p95_steps"):
            found = np.shape(getattr(self, name))
            if len(found) != 4 or (found[0], *found[2:]) != (len(self.cut_offs), *shape):
                raise ValueError(f"{name} has shape {found}, must be {len(self.cut_offs)} of classes of {shape}")

    def at_risk(self, epsilon: float, delta: float, count: int) -> NoThoughtTables:
        """Returns the tables certified at another risk, on the same `count` questions."""
        bounds, certified, refused = _tested(np.array(self.harmed), count, epsilon, delta)
        return replace(self, bounds=bounds, certified=certified, refused=refused)


def check_cut_offs(cut_offs: Sequence[float]) -> None:
    """Raises ValueError unless the cut-offs lie in (0, 1) and fall."""
    inside = all(0.0 < cut < 1.0 for cut in cut_offs)
    if not cut_offs or not inside or any(b >= a for a, b in pairwise(cut_offs)):
        raise ValueError(f"cut_offs are {tuple(cut_offs)}, must lie between 0 and 1 and fall")


def no_thought_tables(
    *,
    switch: Switch,
    cut_offs: Sequence[float],
    skipped: Sequence[float],
    tokens: LevelTable,
    accuracy: LevelTable,
    p95_steps: LevelTable,
    harmed: Counts,
    count: int,
    epsilon: float,
    delta: float,
) -> NoThoughtTables:
    """Returns the tables, certified on `count` questions."""
    bounds, certified, refused = _tested(harmed, count, epsilon, delta)
    return NoThoughtTables(
        switch=switch,
        cut_offs=tuple(cut_offs),
        skipped=tuple(skipped),
        tokens=tokens,
        accuracy=accuracy,
        p95_steps=p95_steps,
        harmed=nested(harmed),
        bounds=bounds,
        certified=certified,
        refused=refused,
    )


def _tested(
    harmed: Counts, count: int, epsilon: float, delta: float
) -> tuple[tuple[tuple[tuple[float, ...], ...], ...], tuple[tuple[tuple[bool, ...], ...], ...], str | None]:
    """Returns the bounds, what is certified, and why nothing is with a cut-off whatever the bounds."""
    refused = short_of(harmed.shape[0] * harmed.shape[2], epsilon, delta, count, LEVELS)
    bounds, certified = certify_levels(harmed, count, epsilon, delta)
    if refused is not None:
        certified = np.zeros_like(certified)
    elif not certified[1:].any():
        refused = f"even the highest cut-off has a bound of {bounds[1, 0, 0]:.2%}, above the risk of {epsilon:g}"
    return nested(bounds), nested(certified), refused
