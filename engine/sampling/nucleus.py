"""Top-p: the smallest set of likeliest tokens whose probabilities sum to at least p, without sorting a vocabulary."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.sampling.weights import SLACK, Bools, Indices, Kept, Weights, likeliest

HEAD = 1024  # likeliest tokens, of which a nucleus seldom has more
PEAKED = 64.0  # of the likeliest token's weight: a distribution whose weights sum to less is tried with its HEAD
BINS = 4096  # of scores, in which a wide nucleus is looked for
DEEPEST = 24.0  # temperatures below the highest score; what lies deeper shares one more bin


def nucleus(weights: Weights, ids: Indices | None, top_p: float) -> Kept:
    """The nucleus among ascending `ids`, None: among all."""
    if ids is not None:
        return Kept(ids[_of_few(weights.at(ids), top_p)])
    if weights.few:
        return Kept(_of_few(weights.exact, top_p))
    found = _of_head(weights, top_p) if weights.total < PEAKED else None
    return Kept(each=_wide(weights, top_p)) if found is None else Kept(found)


def _of_few(weights: npt.NDArray[np.float64], top_p: float) -> Indices:
    """The ascending indices of the nucleus."""
    order = np.argsort(-weights, kind="stable")
    sorted_ = weights[order] / weights.sum()
    before = np.cumsum(sorted_) - sorted_
    return np.sort(order[: int(np.searchsorted(before, top_p, side="left"))])


def _of_head(weights: Weights, top_p: float) -> Indices | None:
    """The nucleus, if the HEAD likeliest tokens hold it; None: they do not."""
    total = weights.total
    ids = likeliest(weights.scores, HEAD)
    some = weights.at(ids)
    order = np.argsort(-some, kind="stable")
    before = np.cumsum(some[order]) - some[order]
    if (np.abs(before - top_p * total) < 4.0 * SLACK * total).any():
        total = float(weights.exact.sum())
    if before[-1] + some[order[-1]] < top_p * total:
        return None
    return np.sort(ids[order[before < top_p * total]])


def _wide(weights: Weights, top_p: float) -> Bools:
    """Whether each token is in the nucleus of a flat distribution: bins of scores say about where it ends."""
    depths = (np.float32(weights.top) - weights.scores) * np.float32(BINS / DEEPEST / weights.temperature)
    bins = np.minimum(depths, np.float32(BINS), out=depths).astype(np.intp)
    kept, sure = _cut(weights, bins, _masses(bins, weights.coarse), top_p)
    return kept if sure else _cut(weights, bins, _masses(bins, weights.exact), top_p)[0]


def _masses(bins: Indices, weights: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """The sum of the weights in each bin."""
    return np.bincount(bins, weights, BINS + 1).astype(np.float64, copy=False)


def _cut(weights: Weights, bins: Indices, masses: npt.NDArray[np.float64], top_p: float) -> tuple[Bools, bool]:
    """Whether each token is in the nucleus, given its bin and the bins' masses; and whether float32 can tell."""
    ends = np.cumsum(masses)
    wanted = top_p * float(ends[-1])
    last = min(int(np.searchsorted(ends, wanted)), BINS)
    inside = np.flatnonzero(bins == last)
    inside = inside[np.argsort(-weights.scores[inside], kind="stable")]
    begin = ends[last - 1 : last] if last else np.zeros(1)
    edges = np.cumsum(np.concatenate((begin, weights.at(inside))))
    kept: Bools = bins < last
    kept[inside[: int(np.searchsorted(edges[:-1], wanted))]] = True
    return kept, not bool((np.abs(edges - wanted) < SLACK * ends[-1]).any())
