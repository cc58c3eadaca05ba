"""Predicts a prompt's difficulty class before anything is decoded, by the thought length that the prompt will need.

The predictor is a ridge regression of the log thought length on hashed counts of the prompt's tokens and token pairs.
It uses no benchmark's own labels and works on any model's token ids; calibration measures how well it predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

CLASSES = ("easy", "medium", "hard")
ClassName = Annotated[str, Field(json_schema_extra={"enum": list(CLASSES)})]  # as the type of a field of the API
FEATURES = 256  # hash buckets for single tokens, and as many again for pairs
FOLDS = 5
RIDGES = (0.1, 1.0, 10.0, 100.0, 1000.0)
FEWEST = 30  # least number of prompts to learn from

_HASH = 0x9E3779B1  # Knuth's multiplicative hash, 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Difficulty:
    """A learned classifier: `weights` [2 * FEATURES + 2] predict the log length, `bounds` separate the classes."""

    weights: tuple[float, ...]  # of hashed tokens and token pairs, which predict the log length of a thought
    bounds: tuple[float, float]  # log tokens

    def __post_init__(self) -> None:
        if len(self.weights) != 2 * FEATURES + 2:
            raise ValueError(f"weights has {len(self.weights)} values, must have {2 * FEATURES + 2}")
        if not self.bounds[0] <= self.bounds[1]:
            raise ValueError(f"bounds are {self.bounds}, must not fall")

    def expected_tokens(self, prompt: Sequence[int]) -> float:
        """The geometric-mean thought length that prompts like this one need, tokens."""
        with np.errstate(over="ignore"):  # weights that were not learnt may overflow
            return float(np.exp(prompt_features(prompt) @ np.array(self.weights)))

    def classify(self, prompt: Sequence[int]) -> str:
        """The class of a prompt, given as token ids with its chat template."""
        return CLASSES[
            int(np.searchsorted(self.bounds, prompt_features(prompt) @ np.array(self.weights), side="right"))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A classifier and its quality, measured by cross-validation."""

    difficulty: Difficulty
    observed: tuple[str, ...]  # each prompt's class, predicted by a classifier that had not seen the prompt
    confusion: tuple[tuple[int, ...], ...]  # [class by true length][observed class], prompts
    explained: float  # share of the variance of the log length


def learn(prompts: Sequence[Sequence[int]], lengths: Sequence[int]) -> Learned:
    """Fit on prompts and the lengths of their thoughts, tokens; the ridge is chosen by cross-validation.

    The classes are thirds of the predicted lengths. Raises ValueError if there are fewer than FEWEST prompts, or a
    length below 1.
    """
    if len(prompts) < FEWEST:
        raise ValueError(f"{len(prompts)} prompts to learn difficulty from, must be at least {FEWEST}")
    if min(lengths) < 1:
        raise ValueError(f"the shortest thought has {min(lengths)} tokens, must have at least 1")
    x = np.stack([prompt_features(prompt) for prompt in prompts])
    y = np.log(np.array(lengths, dtype=np.float64))
    fold = np.arange(len(y)) * FOLDS // len(y)
    fold = np.random.default_rng(0).permutation(fold)
    unseen = {ridge: _held_out_predictions(x, y, fold, ridge) for ridge in RIDGES}
    ridge = min(RIDGES, key=lambda ridge: float(np.square(unseen[ridge] - y).mean()))
    predicted = unseen[ridge]
    bounds = _thirds(predicted)
    told = np.searchsorted(bounds, predicted, side="right")
    truth = np.searchsorted(_thirds(y), y, side="right")
    confusion = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    np.add.at(confusion, (truth, told), 1)
    return Learned(
        difficulty=Difficulty(weights=tuple(float(w) for w in _ridge(x, y, ridge)), bounds=bounds),
        observed=tuple(CLASSES[index] for index in told),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        explained=share_explained(y, predicted),
    )


def share_explained(y: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Returns the share of the variance of values [n] that predictions [n] explain; 0 if the values are all alike."""
    spread = float(np.square(y - y.mean()).mean())
    return 1.0 - float(np.square(predicted - y).mean()) / spread if spread > 0.0 else 0.0


def prompt_features(prompt: Sequence[int]) -> NDArray[np.float64]:
    """Returns log(1 + x) of the prompt's length and of its hashed counts of tokens and pairs, and a constant 1."""
    ids = np.array(prompt, dtype=np.uint64)
    found = np.zeros(2 * FEATURES)
    np.add.at(found, _bucket(ids), 1.0)
    if len(ids) > 1:
        np.add.at(found, FEATURES + _bucket(ids[:-1] * np.uint64(1_000_003) + ids[1:]), 1.0)
    return np.concatenate((np.log1p(found), [np.log1p(len(ids)), 1.0]))


def _bucket(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    mixed = (keys * np.uint64(_HASH)) & np.uint64(0xFFFFFFFF)
    return (mixed >> np.uint64(32 - 8)).astype(np.int64)  # the highest 8 bits: FEATURES buckets


def _ridge(x: NDArray[np.float64], y: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """argmin ‖Xw − y‖² + ridge·‖w‖², the constant not penalised."""
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-9
    return np.asarray(np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ y), dtype=np.float64)


def _held_out_predictions(
    x: NDArray[np.float64], y: NDArray[np.float64], fold: NDArray[np.int64], ridge: float
) -> NDArray[np.float64]:
    predicted = np.empty_like(y)
    for number in range(FOLDS):
        out = fold == number
        predicted[out] = x[out] @ _ridge(x[~out], y[~out], ridge)
    return predicted


def _thirds(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, (1 / 3, 2 / 3))
    return float(low), float(high)
