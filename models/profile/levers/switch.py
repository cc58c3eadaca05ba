"""Tells from a prompt whether an answer without thought is as right as one with it.

The switch is a logistic regression on the features of `models.profile.difficulty`: hashed counts of the prompt's tokens
and token pairs. Its score is the chance that thinking is not needed: that not both the full thought is right and the
answer without thought wrong. A score of a question that certifies must come from a switch that has not seen the
question, as `learn_switch` returns them: neither weights nor penalty depend on what the question's answers were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.profile.difficulty import FEATURES, FEWEST, FOLDS, prompt_features

PENALTIES = (0.1, 1.0, 10.0, 100.0)
NEWTON_STEPS = 12
ENOUGH = 1e-4  # change of a log-odds at which the fit ends

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A learned switch: `weights` [2 * FEATURES + 2] give the log-odds that thinking is not needed."""

    weights: tuple[float, ...]  # of hashed tokens and token pairs, which tell whether thinking is needed

    def __post_init__(self) -> None:
        if len(self.weights) != 2 * FEATURES + 2:
            raise ValueError(f"weights has {len(self.weights)} values, must have {2 * FEATURES + 2}")

    def score(self, prompt: Sequence[int]) -> float:
        """Returns the chance that thinking is not needed, in [0, 1], of a prompt as token ids with its template."""
        return float(_chance(prompt_features(prompt) @ np.array(self.weights)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearnedSwitch:
    """A switch, and the scores that switches gave which had not seen the question."""

    switch: Switch
    scores: Array  # [prompt]


def learn_switch(prompts: Sequence[Sequence[int]], needless: Sequence[bool]) -> LearnedSwitch:
    """Fits on prompts, and on whether thinking was `needless` for each; penalties are chosen by cross-validation.

    The scores of a fold are of a switch fitted on the other folds, at the penalty that is best for two of these. The
    switch that serves is fitted on all, at the penalty that is best for all. Raises ValueError if there are fewer than
    FEWEST prompts.
    """
    if len(prompts) < FEWEST:
        raise ValueError(f"{len(prompts)} prompts to learn a switch from, must be at least {FEWEST}")
    x = np.stack([prompt_features(prompt) for prompt in prompts])
    y = np.array(needless, dtype=np.float64)
    fold = folds(len(y))
    surprises = _surprises(x, y, fold)
    unseen = np.empty(len(y))
    for number, blind in enumerate(surprises):
        out = fold == number
        unseen[out] = x[out] @ _fitted(x, y, ~out, PENALTIES[blind.argmin()])
    weights = _fitted(x, y, np.ones(len(y), dtype=np.bool_), PENALTIES[surprises.sum(axis=0).argmin()])
    return LearnedSwitch(switch=Switch(weights=tuple(weights.tolist())), scores=_chance(unseen))


def folds(count: int) -> NDArray[np.int64]:
    """Returns the fold of each of `count` prompts [count], one of FOLDS."""
    return np.random.default_rng(0).permutation(np.arange(count) * FOLDS // count)


def _surprises(x: Array, y: Array, fold: NDArray[np.int64]) -> Array:
    """Returns what penalties leave surprising, [fold, penalty], without the fold's labels.

    It is that of the two folds beside it on a ring, each predicted by a fit on the three other folds.
    """
    found = np.zeros((FOLDS, len(PENALTIES)))
    for number in range(FOLDS):
        pair = number, (number + 1) % FOLDS
        rest = ~np.isin(fold, pair)
        for place, penalty in enumerate(PENALTIES):
            weights = _fitted(x, y, rest, penalty)
            for blind, seen in (pair, pair[::-1]):
                mine = fold == seen
                found[blind, place] += _surprise(y[mine], x[mine] @ weights)
    return found


def _chance(odds: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -500.0, 500.0))))


def _surprise(y: Array, odds: Array) -> float:
    """Returns the mean of −log p of what was seen."""
    return float((np.logaddexp(0.0, odds) - y * odds).mean())


def _fitted(x: Array, y: Array, rows: NDArray[np.bool_], penalty: float) -> Array:
    """argmin Σ −log p(y) + penalty·‖w‖²/2 over these rows, the constant hardly penalised, by Newton's steps."""
    x, y = x[rows], y[rows]
    ridge = np.full(x.shape[1], penalty)
    ridge[-1] = 1e-3  # keeps the fit finite where all are alike
    w = np.zeros(x.shape[1])
    for _ in range(NEWTON_STEPS):
        p = _chance(x @ w)
        step = np.linalg.solve((x * (p * (1.0 - p))[:, None]).T @ x + np.diag(ridge), x.T @ (y - p) - ridge * w)
        w = w + step
        if np.abs(x @ step).max() < ENOUGH:
            break
    return w
