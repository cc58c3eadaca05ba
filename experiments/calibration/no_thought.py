"""Tabulates answers at once on recorded thoughts: the points with a cut-off, and what is certified of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.calibration.by_class import means_by_class, p95_by_class
from experiments.calibration.grid import Grid
from experiments.calibration.traces import ClosedReply, ThoughtTrace, TraceError
from models.profile.levers.no_thought_tables import CUT_OFFS, NoThoughtTables, no_thought_tables
from models.profile.levers.switch import learn_switch
from models.profile.profile import Table

AT_ONCE = 0  # the budget under which answers without thought are recorded

Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DirectAnswers:
    """The answers without thought to recorded questions."""

    right: Truths  # [question]
    rows: npt.NDArray[np.int64]  # [question]: tokens decoded, without the landing, which stands in the prompt

    @classmethod
    def of(
        cls, traces: Sequence[ThoughtTrace], closings: Mapping[tuple[int, int], ClosedReply], landing: int
    ) -> DirectAnswers:
        """Returns those of the traces' questions. `landing`: its tokens. Raises TraceError if one is missing."""
        missing = sum((one.number, AT_ONCE) not in closings for one in traces)
        if missing:
            raise TraceError(
                f"the records lack the answers without thought to {missing} of {len(traces)} questions: "
                "`laser calibrate --no-thought` records them, without --from-records"
            )
        found = [closings[one.number, AT_ONCE] for one in traces]
        rows = [max(1, each.tokens - landing) for each in found]
        return cls(right=np.array([each.right for each in found]), rows=np.array(rows, dtype=np.int64))


def with_cut_off(plain: Grid, direct: DirectAnswers, skipped: Truths) -> Grid:
    """Returns the results where the `skipped` questions [question] are answered at once; answers are not compared."""
    full = plain.right[:, 0, 0]
    at_once = skipped[:, None, None]
    return Grid(
        thresholds=plain.thresholds,
        budgets=plain.budgets,
        right=np.where(at_once, direct.right[:, None, None], plain.right),
        tokens=np.where(at_once, direct.rows[:, None, None], plain.tokens),
        steps=np.where(at_once, direct.rows[:, None, None], plain.steps),
        harmed=plain.harmed | (skipped & full & ~direct.right)[:, None, None],
        differing=None,
        ends=np.where(skipped[:, None], 0, plain.ends),
    )


def tabulated_at_once(
    traces: Sequence[ThoughtTrace],
    direct: DirectAnswers,
    plain: Grid,
    *,
    member: Truths,
    unseen: Sequence[int],
    epsilon: float,
    delta: float,
    cut_offs: Sequence[float] = CUT_OFFS,
) -> NoThoughtTables:
    """Learns the switch and tabulates every cut-off; the questions with the numbers `unseen` certify.

    `plain`: the traces without a cut-off. `member` is [class, trace].
    """
    full = np.array([one.right for one in traces])
    learned = learn_switch([one.prompt for one in traces], (~full | direct.right).tolist())
    counted = np.isin([one.number for one in traces], unseen)
    tokens: list[Table] = []
    accuracy: list[Table] = []
    steps: list[Table] = []
    harmed, skipped = [plain.harmed[counted].sum(axis=0)], []
    for cut_off in cut_offs:
        at_once = learned.scores >= cut_off
        found = with_cut_off(plain, direct, at_once)
        skipped.append(float(at_once.mean()))
        tokens.append(means_by_class(found.tokens.astype(np.float64), member))
        accuracy.append(means_by_class(found.right.astype(np.float64), member))
        steps.append(p95_by_class(found.steps, member))
        harmed.append(found.harmed[counted].sum(axis=0))
    return no_thought_tables(
        switch=learned.switch,
        cut_offs=cut_offs,
        skipped=skipped,
        tokens=tuple(tokens),
        accuracy=tuple(accuracy),
        p95_steps=tuple(steps),
        harmed=np.stack(harmed),
        count=int(counted.sum()),
        epsilon=epsilon,
        delta=delta,
    )
