"""The figures that aims are held against."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.reasoner.aims import LAX, RACE, RISKS, STEEP, STRICT
from benchmarks.reasoner.evidence import Numbers, ReasonerEvidence
from benchmarks.reasoner.thresholds import ReplayedThreshold, at, laxest_within
from experiments.calibration.races.sampled import SampledReply
from experiments.calibration.traces import ClosedReply, ThoughtTrace
from experiments.statistics import Difference, Proportion, Truths, difference, proportion
from models.profile.difficulty import FEWEST, learn, share_explained

Values = npt.NDArray[np.float64]

SHORTEST = tuple(round(8 * 2 ** (half / 2)) for half in range(9))  # tokens: where two doublings of length may begin
FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonerFigure:
    """A measured value, with its 95 % interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""  # such as the family that it is of


def figures(found: ReasonerEvidence, table: Sequence[ReplayedThreshold]) -> dict[str, ReasonerFigure]:
    """Returns what the records tell, by the aim's name; what they do not tell is absent. `table`: of all questions."""
    hardest, easiest = found.families[found.hardest], found.families[found.easiest]
    at_cap = hardest[found.capped[hardest]]
    ratio = float(found.lengths[hardest].mean() / found.lengths[easiest].mean())
    p10, p90 = np.percentile(found.lengths[hardest], [10, 90])
    strict, lax = at(table, STRICT), at(table, LAX)
    told = {
        "fresh questions": ReasonerFigure(value=min(map(len, found.families.values()))),
        "right": _share(found.right),
        "hardest right": _share(found.right[hardest], found.hardest),
        "at the cap": _share(found.capped[hardest], found.hardest),
        "spread of lengths": ReasonerFigure(value=ratio, note=f"{found.hardest} by {found.easiest}"),
        "heavy tail": ReasonerFigure(value=float(p90 / p10), note=found.hardest),
        "lax threshold": _points(lax.against),
        "strict threshold": _points(strict.against),
        "tabulated": ReasonerFigure(value=sum(one.threshold is not None for one in table)),
        "told by words": ReasonerFigure(value=told_by_words(found)),
    }
    if len(at_cap):
        told["right at the cap"] = _share(found.right[at_cap], found.hardest)
    if len(found.traces) >= FEWEST:
        told["told by tokens"] = ReasonerFigure(value=told_by_tokens(found))
    for risk in RISKS:
        laxest = laxest_within(table, risk)
        note = "full thought" if laxest.threshold is None else f"at {laxest.threshold:g}"
        name = f"{risk:.2f}".removeprefix("0")
        told[f"span at {name}"] = _points(laxest.against, note)
        told[f"saving at {name}"] = ReasonerFigure(value=laxest.times, note=note)
    return told | _without_thought(found) | _sampled(found)


def _share(truths: Truths, note: str = "") -> ReasonerFigure:
    share = proportion(truths)
    return ReasonerFigure(value=share.share, low=share.low, high=share.high, note=note)


def _points(lost: Difference, note: str = "") -> ReasonerFigure:
    return ReasonerFigure(value=lost.points_lost, low=lost.low, high=lost.high, note=note)


def _gain(greedy: Truths, sampled: Truths, note: str = "") -> ReasonerFigure:
    return _points(difference(sampled, greedy, np.random.default_rng(0)), note)


# --- thought by length ----------------------------------------------------------------------------------------------


def _without_thought(found: ReasonerEvidence) -> dict[str, ReasonerFigure]:
    """Returns the figures that need answers without thought; none without these."""
    places = found.thought_away
    if not len(places):
        return {}
    best: dict[str, Proportion] = {}
    for name in found.families:
        if len(mine := found.in_family(places, name)):
            best[name] = proportion(found.right_directly(mine))
    first = max(best, key=lambda name: best[name].share)
    lost = difference(found.right[places], found.right_directly(places), np.random.default_rng(0))
    steep = {name: gain for name in found.families if (gain := steepness(found, name)) >= STEEP}
    steep.pop(found.hardest, None)
    return {
        "solved at once": ReasonerFigure(
            value=best[first].share, low=best[first].low, high=best[first].high, note=first
        ),
        "worth of thought": _points(lost),
        "steep families": ReasonerFigure(value=len(steep), note=", ".join(steep)),
    }


def right_after(trace: ThoughtTrace, direct: ClosedReply | None, tokens: int) -> bool:
    """Whether the answer is right if the thought has so many tokens: the last trial answer until then.

    A thought that has ended by then, by itself or at the cap, has its reply; before the first probe there is the answer
    without thought.
    """
    if len(trace.thought) <= tokens:
        return trace.right
    before = [probe.right for probe in trace.probes if probe.thought_tokens <= tokens]
    return before[-1] if before else direct is not None and direct.right


def accuracy_after(found: ReasonerEvidence, name: str, tokens: int) -> float:
    """Returns the accuracy of a family if every thought has at most so many tokens."""
    return float(np.mean([right_after(found.traces[n], found.direct[n], tokens) for n in found.families[name]]))


def steepness(found: ReasonerEvidence, name: str) -> float:
    """Returns the most that each of two doublings of length in a row adds to a family's accuracy, at the least."""
    gains = []
    for start in SHORTEST:
        once, twice, more = (accuracy_after(found, name, start * factor) for factor in (1, 2, 4))
        gains.append(min(twice - once, more - twice))
    return max(gains)


# --- sampled replies ------------------------------------------------------------------------------------------------


def _sampled(found: ReasonerEvidence) -> dict[str, ReasonerFigure]:
    """Returns the figures that need sampled replies; none without these."""
    places, hardest = found.drawn, found.in_family(found.drawn, found.hardest)
    if not len(places) or not len(hardest):
        return {}
    unreached = [not found.right[n] and not any(one.right for one in found.replies[n]) for n in hardest]
    return {
        "vote": _gain(found.right[places], _chosen(found, places, voted)),
        "race": _gain(found.right[hardest], _chosen(found, hardest, first_to_finish), found.hardest),
        "beyond reach": _share(np.array(unreached, dtype=np.bool_), found.hardest),
    }


def _chosen(
    found: ReasonerEvidence, places: Numbers, choose: Callable[[Sequence[SampledReply]], SampledReply]
) -> Truths:
    return np.array([choose(found.replies[place]).right for place in places], dtype=np.bool_)


def voted(replies: Sequence[SampledReply]) -> SampledReply:
    """Returns the shortest reply with the most frequent answer; among answers as frequent, that of the shortest reply.

    A reply without an answer does not vote. The earlier sample goes before another of its length.
    """
    votes = Counter(" ".join(one.answer.split()) for one in replies if one.answer.strip())
    return min(replies, key=lambda one: (-votes[" ".join(one.answer.split())], one.tokens))


def first_to_finish(replies: Sequence[SampledReply]) -> SampledReply:
    """Returns the shortest of the first RACE replies; the earlier sample goes before another of its length."""
    return min(replies[:RACE], key=lambda one: one.tokens)


# --- how long a thought will be ---------------------------------------------------------------------------------------


def told_by_words(found: ReasonerEvidence) -> float:
    """Returns the share of the variance of log thought tokens that the prompt's visible features predict.

    Least squares with, for each family, a constant, the prompt's tokens and the count of numbers in its text: 3 weights
    a family, so the features act in each family by themselves. Nothing of the answer and no split is among them. What
    is predicted are folds that were left out, a fifth each, drawn by seed 0. Thoughts at the cap count as long as it.
    """
    names = list(found.families)
    columns = np.zeros((len(found.traces), 3 * len(names)))
    for row, (question, trace) in enumerate(zip(found.questions, found.traces, strict=True)):
        first = 3 * names.index(question.benchmark)
        columns[row, first : first + 3] = 1.0, len(trace.prompt), len(re.findall(r"\d+", question.text))
    y = np.log(np.maximum(found.lengths, 1).astype(np.float64))
    fold = np.random.default_rng(0).permutation(np.arange(len(y)) % FOLDS)
    predicted = np.empty_like(y)
    for out in range(FOLDS):
        weights = np.linalg.lstsq(columns[fold != out], y[fold != out], rcond=None)[0]
        predicted[fold == out] = columns[fold == out] @ weights
    return share_explained(y, predicted)


def told_by_tokens(found: ReasonerEvidence) -> float:
    """Returns the same share for the predictor of a profile, which counts the prompt's tokens and pairs of them."""
    return learn([one.prompt for one in found.traces], np.maximum(found.lengths, 1).tolist()).explained
