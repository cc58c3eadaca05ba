"""What every threshold and budget would have done with recorded thoughts: the tables that the optimiser plans with.

Decoding is deterministic, so a thought that is closed early was the same up to there. It ends, whichever comes first,
at the first probe whose confidence reaches the threshold, at the budget, or by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engine.base import ProbeSpec
from experiments.calibration.traces import ClosedReply, ThoughtTrace
from experiments.evaluation.evaluation import Asked
from experiments.evaluation.sweeps import ENDING, score_of
from models.score import Score

Threshold = float | None  # None: never probed, never closed by confidence
Budget = int | None  # None: no budget

Counts = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """All questions at all points, [question, threshold, budget], strictest first on both axes."""

    thresholds: tuple[Threshold, ...]
    budgets: tuple[Budget, ...]
    right: Truths
    tokens: Counts  # token rows decoded: reply, what was withdrawn, probes
    steps: Counts  # of them one after another; probes run beside. The budget's landing is counted token by token
    harmed: Truths  # the full thought right, and some exit within the corner wrong


def grid(
    traces: Sequence[ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    thresholds: Sequence[float],
    budgets: Sequence[int],
    spec: ProbeSpec,
) -> Grid:
    """Replay the traces at every point; `closings` must tell of every budget that a thought reaches.

    `spec` is what serving probes with: the score that is compared, and when a probe gives up.
    """
    rows: tuple[Threshold, ...] = (None, *sorted(thresholds, reverse=True))
    columns: tuple[Budget, ...] = (None, *sorted(budgets, reverse=True))
    shape = (len(traces), len(rows), len(columns))
    right, harmed = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    tokens, steps = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    specs = [None if threshold is None else replace(spec, give_up_below=threshold) for threshold in rows]
    for n, one in enumerate(traces):
        for i, at in enumerate(specs):
            asked = None if at is None else [_ask(probe, at) for probe in one.probes]
            for j, budget in enumerate(columns):
                end = _end(one, asked, closings, budget)
                right[n, i, j], tokens[n, i, j], steps[n, i, j] = end
        if one.right:
            harmed[n] = _wrong_within(one, closings, rows, columns, spec.score)
    return Grid(thresholds=rows, budgets=columns, right=right, tokens=tokens, steps=steps, harmed=harmed)


@dataclass(frozen=True, slots=True)
class _Probe:
    """A recorded probe as it would have gone at a threshold."""

    seen: Asked
    sure: bool
    rows: int


def _ask(seen: Asked, spec: ProbeSpec) -> _Probe:
    """With the threshold out of reach it gives up: the answer's m-th token is drawn from the (m - 1)-th one's row."""
    if score_of(seen, spec.score) >= spec.give_up_below:
        return _Probe(seen, True, seen.rows)
    given_up = spec.gives_up(seen.log_probs)
    return _Probe(seen, False, seen.rows if given_up is None else len(spec.suffix) + given_up - 1)


def _end(
    one: ThoughtTrace, probes: Sequence[_Probe] | None, closings: Mapping[tuple[int, int], ClosedReply], budget: Budget
) -> tuple[bool, int, int]:
    """Whether the reply is right, token rows, steps; `probes` is None where there is no probing.

    A probe counts if it has ended once the thought is at its budget: until then `beyond` tokens came beside it. One
    that runs when the budget closes the thought is dropped, and has cost a row less for each step that it missed.
    """
    closed_at = budget if budget is not None and budget <= len(one.thought) else None
    spent = 0
    for probe in probes or ():
        late = 0  # steps that the probe would have needed beyond the budget
        if closed_at is not None:
            if probe.seen.thought_tokens >= closed_at:
                break
            late = max(0, probe.seen.thought_tokens + probe.seen.beyond - closed_at)
        if probe.sure and not late:
            steps = probe.seen.thought_tokens + probe.seen.beyond + ENDING
            return probe.seen.right, steps + probe.rows + spent, steps
        spent += max(0, min(probe.rows, probe.seen.rows - late))
    if closed_at is not None:
        closing = closings[one.number, closed_at]
        return closing.right, closed_at + closing.tokens + spent, closed_at + closing.tokens
    if probes is not None:  # a probe that ran when the thought ended was dropped
        spent += one.rows - one.tokens - sum(probe.rows for probe in one.probes)
    return one.right, one.tokens + spent, one.tokens


def _wrong_within(
    one: ThoughtTrace,
    closings: Mapping[tuple[int, int], ClosedReply],
    thresholds: Sequence[Threshold],
    budgets: Sequence[Budget],
    score: Score,
) -> Truths:
    """[threshold, budget]: whether some exit there, or at a stricter threshold or longer budget, is wrong.

    While limits move, any probe that reaches the corner's threshold may end the thought, however sure earlier ones
    were, and any budget that it reaches. What a budget does that is lowered below a running thought's length, which
    then is closed between two budgets, is not recorded and not told.
    """
    surest = max((score_of(probe, score) for probe in one.probes if not probe.right), default=-1.0)
    by_threshold = np.array([threshold is not None and surest >= threshold for threshold in thresholds])
    by_budget = np.array([_wrong_at(one, closings, budget) for budget in budgets])
    return by_threshold[:, None] | np.logical_or.accumulate(by_budget)[None, :]


def _wrong_at(one: ThoughtTrace, closings: Mapping[tuple[int, int], ClosedReply], budget: Budget) -> bool:
    return budget is not None and budget <= len(one.thought) and not closings[one.number, budget].right
