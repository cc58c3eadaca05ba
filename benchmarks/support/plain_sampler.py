"""A plain sampler: every token of the vocabulary weighed in float64, as LASER's own did until November 2026."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.sampling.settings import Sampling


def plain_draw(logits: npt.NDArray[np.float32], sampling: Sampling, position: int) -> int:
    """A token id drawn from logits (vocabulary,): temperature, top-k, top-p, inverse CDF."""
    scaled = logits.astype(np.float64)
    if sampling.temperature == 0.0:
        return int(scaled.argmax())
    ids = np.arange(scaled.size)
    if 0 < sampling.top_k < scaled.size:
        ids = np.sort(np.argpartition(scaled, -sampling.top_k)[-sampling.top_k :])
        scaled = scaled[ids]
    weights = np.exp((scaled - scaled.max()) / sampling.temperature)
    weights /= weights.sum()
    if sampling.top_p < 1.0:
        kept = _nucleus(weights, sampling.top_p)
        ids, weights = ids[kept], weights[kept]
    cumulative = np.cumsum(weights)
    at = np.random.Generator(np.random.Philox(key=sampling.seed, counter=position)).random() * cumulative[-1]
    return int(ids[np.searchsorted(cumulative, at, side="right")])


def _nucleus(weights: npt.NDArray[np.float64], top_p: float) -> npt.NDArray[np.intp]:
    size = min(128, weights.size)
    while True:
        likely = np.sort(np.argpartition(weights, -size)[-size:])
        order = likely[np.argsort(-weights[likely], kind="stable")]
        mass = np.cumsum(weights[order])
        if mass[-1] >= top_p or size == weights.size:
            return np.sort(order[mass - weights[order] < top_p])
        size = min(8 * size, weights.size)
