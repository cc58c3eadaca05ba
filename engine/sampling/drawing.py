"""Drawing the next token from logits, reproducibly: a draw depends on the logits, the settings, seed and position."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from engine.sampling.nucleus import nucleus
from engine.sampling.settings import Sampling
from engine.sampling.uniform import uniform
from engine.sampling.weights import (
    BLOCK,
    FEW,
    REACH,
    SLACK,
    STEEP,
    Bools,
    Floats,
    Indices,
    Kept,
    Weights,
    block_sums,
    likeliest,
)


def draw(
    logits: Floats,
    sampling: Sampling,
    position: int,
    forbidden: frozenset[int] = frozenset(),
    *,
    again: bool = False,
    weights: Weights | None = None,
) -> int:
    """An index drawn from `logits` (n,): temperature, then top-k and min-p, then top-p, then the inverse CDF.

    `position` is the token's index in its sequence, so a sequence draws the same tokens in any batch. Indices in
    `forbidden`, and those whose logit is −∞, are never drawn; one must be left. `again` draws with another number than
    the position's first draw. `weights`, if they are given, are those of the very logits at this temperature.
    """
    scores = without(logits, forbidden) if forbidden else logits
    if sampling.temperature == 0.0:
        return int(scores.argmax())
    if sampling.temperature < STEEP and scores.size > FEW:
        near = np.flatnonzero(scores >= np.float32(float(scores.max()) - REACH * sampling.temperature))
        if near.size < scores.size:
            return int(near[draw(scores[near], sampling, position, again=again)])
    if forbidden or weights is None:
        weights = Weights(scores, sampling.temperature)
    share = uniform(sampling.seed, position, again=again)
    kept = _kept(weights, sampling)
    if kept.ids is not None:
        return int(kept.ids[_passing(weights.at(kept.ids), share)])
    return _exact_inverse(weights, share, kept.each) if weights.few else _inverse(weights, share, kept)


def without(logits: Floats, forbidden: frozenset[int]) -> Floats:
    """Returns the logits with −∞ for what is forbidden."""
    scores = logits.copy()
    scores[list(forbidden)] = -np.inf
    return scores


def _kept(weights: Weights, sampling: Sampling) -> Kept:
    """What top-k, min-p and top-p leave."""
    kept = Kept()
    if 0 < sampling.top_k < weights.scores.size:
        kept = Kept(likeliest(weights.scores, sampling.top_k))
    if sampling.min_p > 0.0:
        kept = _above(weights, kept.ids, sampling.min_p)
    if sampling.top_p == 1.0:
        return kept
    if kept.each is not None:
        left = np.where(kept.each, weights.scores, np.float32(-np.inf))
        return nucleus(Weights(left, sampling.temperature), None, sampling.top_p)
    return nucleus(weights, kept.ids, sampling.top_p)


def _above(weights: Weights, ids: Indices | None, min_p: float) -> Kept:
    """What has at least `min_p` of the highest weight, 1, among ascending `ids`, None: among all."""
    if ids is not None:
        return Kept(ids[weights.at(ids) >= min_p])
    least = weights.top + weights.temperature * math.log(min_p)
    doubt = 1e-5 * max(1.0, abs(least))  # so far off it may be in float32
    near: Bools = weights.scores >= np.float32(least - doubt)
    if np.count_nonzero(near) <= FEW:
        return _above(weights, np.flatnonzero(near), min_p)
    unsure = np.flatnonzero(near & (weights.scores < np.float32(least + doubt)))
    near[unsure] = weights.at(unsure) >= min_p
    return Kept(each=near)


def _passing(weights: npt.NDArray[np.float64], share: float) -> int:
    """The index at which the running sum of `weights` passes a `share` of the whole."""
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative, share * cumulative[-1], side="right"))


def _exact_inverse(weights: Weights, share: float, kept: Bools | None) -> int:
    """As `_passing`, of the weights that are `kept`, None: of all, in float64."""
    return _passing(weights.exact if kept is None else weights.exact * kept, share)


def _inverse(weights: Weights, share: float, kept: Kept) -> int:
    """As `_exact_inverse`, which decides where float32 cannot."""
    ends = np.cumsum(block_sums(weights.coarse, kept.each) if kept.sums is None else kept.sums)
    at, slack = share * ends[-1], SLACK * ends[-1]
    block = int(np.searchsorted(ends, at, side="right"))
    some = slice(block * BLOCK, (block + 1) * BLOCK)
    inside = weights.of(weights.scores[some])
    if kept.each is not None:
        inside *= kept.each[some]
    bounds = np.cumsum(np.concatenate((ends[block - 1 : block], inside) if block else ((0.0,), inside)))
    found = int(np.searchsorted(bounds, at, side="right")) - 1
    if 0 <= found < inside.size and bounds[found] + slack < at < bounds[found + 1] - slack:
        return some.start + found
    return _exact_inverse(weights, share, kept.each)
