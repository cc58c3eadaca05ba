"""Drawing the next token from logits, reproducibly: a draw depends on the logits, the settings, seed and position."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.base import Sampling


def draw(logits: npt.NDArray[np.float32], sampling: Sampling, position: int) -> int:
    """A token id drawn from `logits` (vocabulary,): temperature, then top-k, then top-p, then the inverse CDF.

    `position` is the token's index in its sequence, so a sequence draws the same whatever it is batched with.
    """
    if sampling.temperature == 0.0:
        return int(logits.argmax())
    exact = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # a vanishing temperature leaves 0 and -inf: greedy
        scaled = (exact - exact.max()) / sampling.temperature
    if 0 < sampling.top_k < scaled.size:
        kth = np.partition(scaled, -sampling.top_k)[-sampling.top_k]
        scaled[scaled < kth] = -np.inf
    weights = np.exp(scaled)
    weights /= weights.sum()
    if sampling.top_p < 1.0:
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order]) - weights[order]  # probability of all likelier tokens
        weights[order[before >= sampling.top_p]] = 0.0
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative, _uniform(sampling.seed, position) * cumulative[-1], side="right"))


def _uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that is a function of seed and position (Philox is counter based)."""
    key = seed % 2**64  # any integer is a seed
    return float(np.random.Generator(np.random.Philox(key=key, counter=position)).random())
