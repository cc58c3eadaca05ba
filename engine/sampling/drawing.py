"""Drawing the next token from logits, reproducibly: a draw depends on the logits, the settings, seed and position."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.base import Sampling


def choose(
    logits: npt.NDArray[np.float32],
    best: int,
    sampling: Sampling,
    position: int,
    *,
    stops: frozenset[int],
    banned: frozenset[int],
) -> tuple[int, bool]:
    """The next token, none of `stops` and none of `banned`, and whether the model chose a banned one.

    `best` is the argmax of `logits`. A draw that is not banned stands as if nothing were; one that is banned is
    replaced by an independent draw among the others.
    """
    greedy = sampling.temperature == 0.0 and best not in stops
    token = best if greedy else draw(logits, sampling, position, stops)
    if token not in banned:
        return token, False
    return draw(logits, sampling, position, stops | banned, again=True), True


def draw(
    logits: npt.NDArray[np.float32],
    sampling: Sampling,
    position: int,
    forbidden: frozenset[int] = frozenset(),
    *,
    again: bool = False,
) -> int:
    """A token id drawn from `logits` (vocabulary,): temperature, then top-k, then top-p, then the inverse CDF.

    `position` is the token's index in its sequence, so a sequence draws the same tokens in any batch. Tokens in
    `forbidden` are never drawn. `again` draws with another number than the position's first draw.
    """
    scaled = logits.astype(np.float64)
    if forbidden:
        scaled[list(forbidden)] = -np.inf
    if sampling.temperature == 0.0:
        return int(scaled.argmax())
    ids = np.arange(scaled.size)
    if 0 < sampling.top_k < scaled.size:
        ids = np.sort(np.argpartition(scaled, -sampling.top_k)[-sampling.top_k :])
        scaled = scaled[ids]
    with np.errstate(over="ignore"):  # a vanishing temperature leaves 0 and -inf: greedy
        weights = np.exp((scaled - scaled.max()) / sampling.temperature)
    weights /= weights.sum()
    if sampling.top_p < 1.0:
        kept = _nucleus(weights, sampling.top_p)
        ids, weights = ids[kept], weights[kept]
    cumulative = np.cumsum(weights)
    at = _uniform(sampling.seed, position, again) * cumulative[-1]
    return int(ids[np.searchsorted(cumulative, at, side="right")])


def _nucleus(weights: npt.NDArray[np.float64], top_p: float) -> npt.NDArray[np.intp]:
    """Ascending indices of the smallest set of likeliest tokens whose probabilities sum to at least `top_p`.

    Sorts only as many tokens as needed: a vocabulary has 150,000 tokens, a nucleus seldom a hundred.
    """
    size = min(128, weights.size)
    while True:
        likely = np.sort(np.argpartition(weights, -size)[-size:])
        order = likely[np.argsort(-weights[likely], kind="stable")]
        mass = np.cumsum(weights[order])
        if mass[-1] >= top_p or size == weights.size:
            return np.sort(order[mass - weights[order] < top_p])
        size = min(8 * size, weights.size)


def _uniform(seed: int, position: int, again: bool) -> float:
    """A number in [0, 1) that is a function of seed and position (Philox is counter based); `again`: the second one."""
    key = seed % 2**64  # any integer is a seed
    return float(np.random.Generator(np.random.Philox(key=key, counter=position)).random(1 + again)[-1])
