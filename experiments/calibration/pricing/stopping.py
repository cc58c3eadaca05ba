"""Fits the index of running thoughts: optimal stopping of a Markov chain, estimated from recorded thoughts.

States are cells of age and confidence, by class. In each the fit counts how often the trial is right, where the next
trial is or how often the thought ends, how often it is right then, and the token rows until either. A cell's shares are
drawn towards those of its confidence at any age, and of its age at any confidence, by a prior that counts for `pseudo`
probes. At a price p of a row

    V(s) = max(P(right | s), E[V(next) − p · rows])

and a cell's index is the price up to which going on is the better one. V falls no faster than going on costs, so where
it is better at one price, it is at all lower ones.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.calibration.traces import ThoughtTrace
from experiments.evaluation.sweeps import ENDING, score_of
from models.profile.levers.index import AGES, CONFIDENCES, PriceIndex
from models.score import Score

Array = npt.NDArray[np.float64]

STEPS = 160  # prices of the ladder on which an index is told, 6 % apart
ENDLESS = 0.9999  # most of a cell's moves that lead to another trial
LOWEST, HIGHEST = 1e-3, 10.0  # of the ladder, right answers a median thought


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedPath:
    """A recorded thought as the fit sees it: a stop at each trial and one at its end."""

    place: int  # of its class
    ages: tuple[float, ...]  # of its trials, medians of the class
    confidences: tuple[float, ...]
    right: tuple[bool, ...]  # of each trial, then of the full thought
    rows: tuple[int, ...]  # token rows of a request that ends there, probes included


def probed_path(one: ThoughtTrace, place: int, median: float, score: Score) -> ProbedPath:
    """Returns a recorded thought of the class at `place`, whose median thought has `median` tokens."""
    spent, rows = 0, []
    for probe in one.probes:
        spent += probe.rows
        rows.append(probe.thought_tokens + probe.beyond + ENDING + spent)
    return ProbedPath(
        place=place,
        ages=tuple(probe.thought_tokens / median for probe in one.probes),
        confidences=tuple(score_of(probe, score) for probe in one.probes),
        right=(*(probe.right for probe in one.probes), one.right),
        rows=(*rows, max(one.rows, *rows) if rows else one.rows),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoppingChain:
    """A class's thoughts as a Markov chain over cells, [age, confidence] in one row."""

    right: Array  # [cell]: share of trials that are right
    onward: Array  # [cell, cell]: how often the next trial is there; what a row lacks to 1 ends without another trial
    ended: Array  # [cell]: share of full thoughts right that end before another trial
    rows: Array  # [cell]: mean token rows until the next trial or the end

    def going_on(self, value: Array, price: float) -> Array:
        """Returns what going on is worth, if `value` is what the next trial's cell is worth."""
        ends = np.maximum(0.0, 1.0 - self.onward.sum(axis=1))
        return np.asarray(self.onward @ value + ends * self.ended - price * self.rows)

    def index(self, prices: Array) -> Array:
        """Returns each cell's index: the highest of these rising prices at which going on is better; 0: at none."""
        found = np.zeros(len(self.right))
        stops = np.zeros(len(self.right), dtype=np.bool_)
        for price in prices:
            stops = self._best(price, stops)
            found[~stops] = price
            if stops.all():
                break
        return found

    def _best(self, price: float, stops: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Returns where to stop, by policy iteration from a rule that stops nowhere it should not."""
        while True:
            value = self._value(price, stops)
            better = self.going_on(value, price) > self.right + 1e-12
            if (better == ~stops).all():
                return stops
            stops = ~better

    def _value(self, price: float, stops: npt.NDArray[np.bool_]) -> Array:
        goes = np.where(stops[:, None], 0.0, self.onward)
        gains = np.where(stops, self.right, self.going_on(np.zeros(len(stops)), price))
        return np.asarray(np.linalg.solve(np.eye(len(stops)) - goes, gains))


def stopping_chain(paths: Sequence[ProbedPath], pseudo: float) -> StoppingChain:
    """Counts a chain on some class's paths."""
    ages, bands = len(AGES) + 1, len(CONFIDENCES) + 1
    seen, right, rows, ends, ended = (np.zeros((ages, bands)) for _ in range(5))
    onward = np.zeros((ages, bands, ages, bands))
    for path in paths:
        at = [
            (bisect_right(AGES, age), bisect_right(CONFIDENCES, confidence))
            for age, confidence in zip(path.ages, path.confidences, strict=True)
        ]
        for k, cell in enumerate(at):
            seen[cell] += 1
            right[cell] += path.right[k]
            rows[cell] += path.rows[k + 1] - path.rows[k]
            if k + 1 < len(at):
                onward[cell][at[k + 1]] += 1
            else:
                ends[cell] += 1
                ended[cell] += path.right[-1]
    weight = seen + pseudo
    moves = onward + pseudo * _usual_moves(onward, seen, ends)
    finally_right = (ended.sum() + 1.0) / (ends.sum() + 2.0)
    at_end = (ended.sum(axis=0) + 2.0 * finally_right) / (ends.sum(axis=0) + 2.0)
    by_age = (rows.sum(axis=1) + 5.0 * rows.sum() / max(1.0, seen.sum())) / (seen.sum(axis=1) + 5.0)
    return StoppingChain(
        right=((right + pseudo * _usual_right(right, seen)) / weight).ravel(),
        # below 1, so that no chain goes round for ever
        onward=ENDLESS * (moves / weight[:, :, None, None]).reshape(seen.size, seen.size),
        ended=((ended + pseudo * at_end) / (ends + pseudo)).ravel(),
        rows=np.maximum(1.0, (rows + pseudo * by_age[:, None]) / weight).ravel(),
    )


def _usual_right(right: Array, seen: Array) -> Array:
    """Returns for each confidence how often trials are right at any age; never less for a higher confidence."""
    return np.maximum.accumulate((right.sum(axis=0) + 1.0) / (seen.sum(axis=0) + 2.0))


def _usual_moves(onward: Array, seen: Array, ends: Array) -> Array:
    """Returns the prior of moves, [age, confidence, next age, next confidence]; what they lack to 1 are ends.

    Ages move as they do at any confidence, confidences as they do at any age, and thoughts end by age alone.
    """
    ages, bands = seen.shape
    confidence = onward.sum(axis=(0, 2)) + 0.5 / bands
    age = onward.sum(axis=(1, 3)) + 1e-3 * np.triu(np.ones((ages, ages)))  # a thought grows no younger
    goes = 1.0 - (ends.sum(axis=1) + 1.0) / (seen.sum(axis=1) + 2.0)
    age /= age.sum(axis=1, keepdims=True)
    confidence /= confidence.sum(axis=1, keepdims=True)
    prior: Array = goes[:, None, None, None] * age[:, None, :, None] * confidence[None, :, None, :]
    return prior


def fitted_index(paths: Sequence[ProbedPath], medians: Sequence[float], unit: float, pseudo: float) -> PriceIndex:
    """Returns the index that some recorded thoughts give; `unit`: a median thought of all classes, tokens.

    An index that rises with confidence anywhere is raised below it to what it is there.
    """
    prices = np.geomspace(LOWEST, HIGHEST, STEPS) / unit
    values = []
    for place in range(len(medians)):
        chain = stopping_chain([path for path in paths if path.place == place], pseudo)
        table = chain.index(prices).reshape(len(AGES) + 1, -1)
        values.append(np.maximum.accumulate(table[:, ::-1], axis=1)[:, ::-1])
    return PriceIndex(
        medians=tuple(medians),
        ages=AGES,
        confidences=CONFIDENCES,
        values=tuple(tuple(tuple(row) for row in table.tolist()) for table in values),
    )


def ended_by(path: ProbedPath, index: PriceIndex, prices: Sequence[float]) -> list[int]:
    """Returns the place in the path at which each price ends it; prices rise."""
    found: list[int] = []
    tried = [
        index.at(path.place, age * index.medians[path.place], confidence)
        for age, confidence in zip(path.ages, path.confidences, strict=True)
    ]
    for price in prices:
        found.append(next((k for k, value in enumerate(tried) if value <= price), len(tried)))
    return found


def gain(paths: Sequence[ProbedPath], index: PriceIndex, prices: Sequence[float]) -> float:
    """Returns the mean over prices and paths of right answers less what their rows cost."""
    total = 0.0
    for path in paths:
        for price, k in zip(prices, ended_by(path, index, prices), strict=True):
            total += path.right[k] - price * path.rows[k]
    return total / (len(paths) * len(prices))
