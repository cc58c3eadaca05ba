"""Replays recorded thoughts at every threshold and budget: the source of the tables that the optimiser plans with.

Decoding is deterministic, so a thought that is closed early equals the recorded thought up to there. A thought ends at
the first probe whose confidence reaches the threshold or lies below the lower curve, at the budget, or by itself,
whichever comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engine.base import ProbeSpec
from experiments.calibration.replayed_probe import ReplayedProbe, may_be_given_up, replayed_probes
from experiments.calibration.traces import ClosedReply, ThoughtTrace
from experiments.evaluation.evaluation import Asked
from experiments.evaluation.sweeps import ENDING, score_of
from models.profile.give_up import GiveUpLimit
from models.score import Score

Threshold = float | None  # None: never probed, never closed by confidence
Budget = int | None  # None: no budget

Counts = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]
Replayed = Sequence[ReplayedProbe] | None  # a thought's probes; None: it is not probed
Counting = Callable[[Asked | ClosedReply], bool]  # whether an exit counts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """The results of all questions at all points, [question, threshold, budget], strictest first on both axes."""

    thresholds: tuple[Threshold, ...]
    budgets: tuple[Budget, ...]
    right: Truths
    tokens: Counts  # token rows decoded: reply, withdrawn tokens, probes
    steps: Counts  # sequential decode steps: probes run beside them, the budget's landing counts token by token
    harmed: Truths  # the full thought is right, and some exit within the corner is wrong
    differing: Truths | None  # some exit within the corner answers otherwise than the full thought; None: not recorded
    ends: Counts  # [question, threshold]: thought tokens before the exit, without a budget


def grid(
    traces: Sequence[ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    thresholds: Sequence[float],
    budgets: Sequence[int],
    spec: ProbeSpec,
    give_up: Sequence[GiveUpLimit] | None = None,
) -> Grid:
    """Replays the traces at every point; `closings` needs an entry for every budget that a thought reaches.

    `spec` is the probe that serving uses; its score is compared with the threshold and decides when a probe gives up.
    `give_up`: each trace's lower curve, which holds at every threshold, and not where thoughts are never probed; None:
    no thought is given up.
    """
    rows: tuple[Threshold, ...] = (None, *sorted(thresholds, reverse=True))
    columns: tuple[Budget, ...] = (None, *sorted(budgets, reverse=True))
    specs = [None if threshold is None else replace(spec, give_up_below=threshold) for threshold in rows]

    def asked(n: int) -> list[Replayed]:
        limit = None if give_up is None else give_up[n]
        return [None if at is None else replayed_probes(traces[n].probes, at, limit) for at in specs]

    def within(n: int, _: Sequence[Replayed], counts: Counting) -> Truths:
        limit = None if give_up is None else give_up[n]
        return _within(traces[n], closings, rows, columns, spec.score, counts, limit)

    return filled(traces, closings, rows, columns, asked, within)


def filled(
    traces: Sequence[ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    rows: tuple[Threshold, ...],
    columns: tuple[Budget, ...],
    asked: Callable[[int], Sequence[Replayed]],
    within: Callable[[int, Sequence[Replayed], Counting], Truths],
) -> Grid:
    """Returns the tables of `rows`, thresholds or what stands in their place, and of budgets, longest first.

    `asked`: returns a trace's probes as each row replays them. `within`: of these, returns [row, budget] whether some
    exit within the corner counts.
    """
    shape = (len(traces), len(rows), len(columns))
    right, harmed, differing = (np.zeros(shape, dtype=np.bool_) for _ in range(3))
    tokens, steps = (np.zeros(shape, dtype=np.int64) for _ in range(2))
    ends = np.zeros(shape[:2], dtype=np.int64)
    told = compared(traces, closings, [budget for budget in columns if budget is not None])
    for n, one in enumerate(traces):
        replayed = asked(n)
        for i, probes in enumerate(replayed):
            closing = (probe.seen.thought_tokens for probe in probes or () if probe.closes)
            ends[n, i] = next(closing, len(one.thought))
            for j, budget in enumerate(columns):
                right[n, i, j], tokens[n, i, j], steps[n, i, j] = ended(one, probes, closings, budget)
        if one.right:
            harmed[n] = within(n, replayed, lambda exit_: not exit_.right)
        if told:
            differing[n] = within(n, replayed, lambda exit_: not exit_.same)
    return Grid(
        thresholds=rows,
        budgets=columns,
        right=right,
        tokens=tokens,
        steps=steps,
        harmed=harmed,
        differing=differing if told else None,
        ends=ends,
    )


def compared(
    traces: Sequence[ThoughtTrace], closings: Mapping[tuple[int, int], ClosedReply], budgets: Sequence[int]
) -> bool:
    """Whether every exit's answer was compared with the full thought's."""
    reached = (closings[one.number, budget] for one in traces for budget in budgets if budget <= len(one.thought))
    return all(probe.same is not None for one in traces for probe in one.probes) and all(
        closing.same is not None for closing in reached
    )


def ended(
    one: ThoughtTrace,
    probes: Replayed,
    closings: Mapping[tuple[int, int], ClosedReply],
    budget: Budget,
) -> tuple[bool, int, int]:
    """Returns whether the reply is right, its token rows and its steps; `probes` None: no probing.

    A probe counts if it has ended when the thought reaches its budget; the thought decodes `beyond` tokens meanwhile. A
    probe that still runs when the budget closes the thought is dropped, and costs one row less per step that it missed.
    """
    closed_at = budget if budget is not None and budget <= len(one.thought) else None
    spent = 0
    for probe in probes or ():
        late = 0  # steps that the probe would have needed beyond the budget
        if closed_at is not None:
            if probe.seen.thought_tokens >= closed_at:
                break
            late = max(0, probe.seen.thought_tokens + probe.seen.beyond - closed_at)
        ends_at = probe.seen.thought_tokens + probe.beyond
        if probe.closes and (closed_at is None or ends_at <= closed_at):
            steps = ends_at + ENDING
            return probe.stands.right, steps + probe.rows + probe.again + spent, steps
        spent += max(0, min(probe.rows, probe.seen.rows - late))
    if closed_at is not None:
        closing = closings[one.number, closed_at]
        return closing.right, closed_at + closing.tokens + spent, closed_at + closing.tokens
    if probes is not None:  # rows of a probe that was dropped because the thought ended
        spent += one.rows - one.tokens - sum(probe.rows for probe in one.probes)
    return one.right, one.tokens + spent, one.tokens


def _within(
    one: ThoughtTrace,
    closings: Mapping[tuple[int, int], ClosedReply],
    thresholds: Sequence[Threshold],
    budgets: Sequence[Budget],
    score: Score,
    counts: Counting,
    limit: GiveUpLimit | None,
) -> Truths:
    """Returns [threshold, budget]: whether some exit there, or at a stricter threshold or longer budget, `counts`.

    While limits move, any probe that reaches the corner's threshold may end the thought, even if earlier probes were
    surer; so may any place below the curve, and any budget that the thought reaches. A budget that is lowered below a
    running thought's length closes the thought between two budgets; such closings were not recorded and are not
    covered.
    """
    surest = max((score_of(probe, score) for probe in one.probes if counts(probe)), default=-1.0)
    given_up = limit is not None and may_be_given_up(one.probes, score, limit, counts)
    by_threshold = np.array([threshold is not None and (given_up or surest >= threshold) for threshold in thresholds])
    return by_threshold[:, None] | budget_exits(one, closings, budgets, counts)[None, :]


def budget_exits(
    one: ThoughtTrace,
    closings: Mapping[tuple[int, int], ClosedReply],
    budgets: Sequence[Budget],
    counts: Counting,
) -> Truths:
    """Returns for each budget, longest first, whether some closing there or at a longer one `counts`."""
    return np.logical_or.accumulate([_counts_at(one, closings, budget, counts) for budget in budgets])


def _counts_at(
    one: ThoughtTrace,
    closings: Mapping[tuple[int, int], ClosedReply],
    budget: Budget,
    counts: Counting,
) -> bool:
    return budget is not None and budget <= len(one.thought) and counts(closings[one.number, budget])
