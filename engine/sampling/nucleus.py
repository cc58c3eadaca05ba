"""Top-p: the smallest set of likeliest tokens whose probabilities sum to at least p, without sorting a vocabulary."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.sampling.weights import SLACK, Bools, Indices, Weights, block_sums, likeliest

HEAD = 1024  # likeliest tokens, of which a nucleus seldom has more
PEAKED = 64.0  # of the likeliest token's weight: a distribution whose weights sum to less is tried with its HEAD
EVERY = 16  # one of so many tokens tells about where a wide nucleus ends


def nucleus(weights: Weights, ids: Indices | None, top_p: float) -> Indices | Bools:
    """The nucleus among `ids`, None: among all. Ascending indices; if they may be many, whether each is in it."""
    if ids is not None:
        return ids[_of_few(weights.at(ids), top_p)]
    if weights.few:
        return _of_few(weights.exact, top_p)
    found = _of_head(weights, top_p) if weights.total < PEAKED else None
    return _wide(weights, top_p) if found is None else found


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
    """The nucleus of a flat distribution: a sample of the scores says between which two it ends, a sort where."""
    scores = weights.scores
    sample = np.sort(scores[::EVERY])[::-1]
    running = np.cumsum(weights.of(sample))
    end, spread = int(np.searchsorted(running, top_p * running[-1])), 2 * int(sample.size**0.5)
    low = float(sample[end + spread]) if end + spread < sample.size else -np.inf
    high = float(sample[end - spread]) if end > spread else np.inf
    for most, least in ((high, low), (np.inf, -np.inf)):
        found = _cut(weights, top_p, most, least)
        if found is not None:
            return found
    raise AssertionError("a nucleus ends among all scores")


def _cut(weights: Weights, top_p: float, high: float, low: float) -> Bools | None:
    """The nucleus, if its last score lies in low … high; None: it does not."""
    scores, total = weights.scores, weights.total
    above = scores > high
    band = np.sort(scores[np.flatnonzero((scores >= low) ^ above)])[::-1]
    if not band.size:
        return None
    some = weights.of(band)
    before = np.cumsum(some) - some
    held = float(block_sums(weights.coarse * above).sum())
    if (np.abs(held + before - top_p * total) < SLACK * total).any():
        total, held = float(weights.exact.sum()), float(weights.exact[above].sum())
    count = int(np.searchsorted(held + before, top_p * total, side="left"))
    if count == 0 or (count == band.size and low > -np.inf):
        return None
    last = band[count - 1]
    kept: Bools = scores > last
    alike = np.flatnonzero(scores == last)
    kept[alike[: count - int(np.searchsorted(-band, -last, side="left"))]] = True
    return kept
