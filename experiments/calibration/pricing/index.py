"""Fits the index on some recorded thoughts, and tabulates and certifies closing by it on others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.base import ProbeSpec
from experiments.calibration.by_class import means_by_class, p95_by_class
from experiments.calibration.giving_up import class_medians
from experiments.calibration.grid import Budget, Counting, Grid, Replayed, Truths, budget_exits, filled
from experiments.calibration.pricing.stopping import ProbedPath, fitted_index, gain, probed_path
from experiments.calibration.replayed_probe import ReplayedProbe
from experiments.calibration.traces import ClosedReply, ThoughtTrace
from experiments.evaluation.sweeps import score_of
from models.profile.levers.index import AGES, CONFIDENCES, IndexLimit, PriceIndex, PriceIndexTables, price_index_tables

PRICES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5)  # of a row, right answers a median thought
PSEUDO = (5.0, 20.0, 80.0)  # probes that a prior may count for; cross-validation chooses
FOLDS = 4
LADDERS = (*PRICES, *AGES, *CONFIDENCES)  # all that is chosen beforehand
FEWEST_FITTED = 50  # questions of each class


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedIndex:
    """An index, and what it was fitted with."""

    index: PriceIndex
    prices: tuple[float, ...]  # of a row, right answers, rising
    fitted: int  # questions
    pseudo: float  # probes that the prior counts for
    unfit: str | None  # why the questions are too few; None: they are not


def fitting_half(numbers: Collection[int], seed: int = 0) -> frozenset[int]:
    """Returns a seeded half of some questions' numbers: those that fit, and do not certify."""
    ordered = sorted(numbers)
    return frozenset(ordered[place] for place in np.random.default_rng(seed).permutation(len(ordered))[::2])


def fit(
    traces: Sequence[ThoughtTrace], member: Truths, fitting: Collection[int], names: Sequence[str], spec: ProbeSpec
) -> FittedIndex:
    """Fits the index on the questions with the numbers `fitting`; `member` is [class, trace].

    The prior is that of PSEUDO which gains most on folds of the questions that the index was not fitted on.
    """
    medians = class_medians(traces, member, fitting, names)
    counted = np.isin([one.number for one in traces], list(fitting))
    classes = member.argmax(axis=0)
    mine = [
        probed_path(one, int(d), medians.by_class[d], spec.score)
        for one, d, fits in zip(traces, classes, counted, strict=True)
        if fits
    ]
    lengths = [len(one.thought) for one, fits in zip(traces, counted, strict=True) if fits]
    unit = max(1.0, float(np.median(lengths))) if lengths else 1.0
    prices = tuple(price / unit for price in PRICES)
    thin = [f"{int(n)} {name}" for name, n in zip(names, (member & counted).sum(axis=1), strict=True)]
    short = (member & counted).sum(axis=1).min() < FEWEST_FITTED
    pseudo = PSEUDO[-1] if short else _cross_validated(mine, medians.by_class, unit, prices)
    return FittedIndex(
        index=fitted_index(mine, medians.by_class, unit, pseudo),
        prices=prices,
        fitted=len(mine),
        pseudo=pseudo,
        unfit=f"{', '.join(thin)} questions fit, must be at least {FEWEST_FITTED} of each class" if short else None,
    )


def _cross_validated(
    paths: Sequence[ProbedPath], medians: Sequence[float], unit: float, prices: Sequence[float]
) -> float:
    found = []
    for pseudo in PSEUDO:
        gains = [
            gain(
                paths[fold::FOLDS],
                fitted_index([p for k, p in enumerate(paths) if k % FOLDS != fold], medians, unit, pseudo),
                prices,
            )
            for fold in range(FOLDS)
        ]
        found.append(float(np.mean(gains)))
    return PSEUDO[int(np.argmax(found))]


def priced_probes(one: ThoughtTrace, spec: ProbeSpec, limit: IndexLimit) -> list[ReplayedProbe]:
    """Replays a thought's probes at a price; as served, a probe gives up once it cannot clear its bar."""
    found = []
    for seen in one.probes:
        closes = limit.closes(seen.thought_tokens, score_of(seen, spec.score))
        given_up = None
        if not closes:
            at = replace(spec, give_up_below=limit.worth_below(seen.thought_tokens))
            given_up = at.gives_up(seen.log_probs)
        rows = seen.rows if given_up is None else len(spec.suffix) + given_up - 1
        found.append(ReplayedProbe(seen=seen, rows=rows, closes=closes, stands=seen))
    return found


def price_grid(
    traces: Sequence[ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    limits: Sequence[Sequence[IndexLimit]],
    budgets: Sequence[int],
    spec: ProbeSpec,
) -> Grid:
    """Replays the traces at every price and budget, as `grid` does at thresholds.

    `limits`: each trace's, of its class, at rising prices. Of the Grid's tables the first row is never probed.
    """
    columns: tuple[Budget, ...] = (None, *sorted(budgets, reverse=True))

    def asked(n: int) -> list[Replayed]:
        return [None, *(priced_probes(traces[n], spec, limit) for limit in limits[n])]

    def within(n: int, replayed: Sequence[Replayed], counts: Counting) -> Truths:
        # any probe that closes at a price counts, even if an earlier one closed too: the price may have been lower then
        by_price = [any(probe.closes and counts(probe.seen) for probe in probes or ()) for probes in replayed]
        by_budget = budget_exits(traces[n], closings, columns, counts)
        return np.logical_or.accumulate(by_price)[:, None] | by_budget[None, :]

    return filled(traces, closings, (None, *(limit.price for limit in limits[0])), columns, asked, within)


def tabulated(
    traces: Sequence[ThoughtTrace],
    closings: Mapping[tuple[int, int], ClosedReply],
    spec: ProbeSpec,
    *,
    fitted: FittedIndex,
    budgets: Sequence[int],
    member: Truths,
    certifying: Collection[int],
    epsilon: float,
    delta: float,
) -> PriceIndexTables:
    """Replays every price at every budget on the questions with the numbers `certifying`, which the fit has not seen.

    `member` is [class, trace]: the class of each as told from its prompt.
    """
    mine = np.isin([one.number for one in traces], list(certifying))
    some = [one for one, counts in zip(traces, mine, strict=True) if counts]
    classes = member[:, mine].argmax(axis=0)
    by_class = [
        [fitted.index.limit(place, price) for price in fitted.prices] for place in range(len(fitted.index.medians))
    ]
    found = price_grid(some, closings, [by_class[d] for d in classes], budgets, spec)
    return price_index_tables(
        index=fitted.index,
        prices=fitted.prices,
        fitted=fitted.fitted,
        pseudo=fitted.pseudo,
        tokens=means_by_class(found.tokens.astype(np.float64), member[:, mine]),
        accuracy=means_by_class(found.right.astype(np.float64), member[:, mine]),
        p95_steps=p95_by_class(found.steps, member[:, mine]),
        harmed=found.harmed.sum(axis=0),
        count=len(some),
        epsilon=epsilon,
        delta=delta,
        unfit=fitted.unfit,
    )
