"""Top-p: the smallest set of likeliest tokens whose probabilities sum to at least p, without sorting a vocabulary."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.sampling.weights import BLOCK, SLACK, Indices, Kept, Weights, block_sums, likeliest

SAMPLE = 16_384  # tokens by which it is guessed where a nucleus ends
BINS = 512  # of their scores
DEEPEST = 24.0  # temperatures below the highest score; what lies deeper shares one more bin
LEVEL = 1e-6  # temperatures between scores that are all one to a guess
SURE = 3.0  # standard deviations that a guessed mass may be off by
MANY = 32  # tokens of the sample that at least lie above a score of which the sample says what mass is below it


def nucleus(weights: Weights, ids: Indices | None, top_p: float) -> Kept:
    """The nucleus among ascending `ids`, None: among all."""
    if ids is not None:
        return Kept(ids[_of_few(weights.at(ids), top_p)])
    if weights.few:
        return Kept(_of_few(weights.exact, top_p))
    return _of_many(weights, top_p)


def _of_few(weights: npt.NDArray[np.float64], top_p: float) -> Indices:
    """The ascending indices of the nucleus."""
    order = np.argsort(-weights, kind="stable")
    sorted_ = weights[order] / weights.sum()
    before = np.cumsum(sorted_) - sorted_
    return np.sort(order[: int(np.searchsorted(before, top_p, side="left"))])


def _of_many(weights: Weights, top_p: float) -> Kept:
    """The nucleus, looked for between two scores; where they are guessed wrongly, by sorting all."""
    low, high = _guess(weights, top_p)
    found = _between(weights, low, high, top_p, exact=False) or _between(weights, low, high, top_p, exact=True)
    return found or Kept(_of_few(weights.exact, top_p))


def _guess(weights: Weights, top_p: float) -> tuple[float, float]:
    """Two scores between which the nucleus very likely ends, by a sample of the tokens; a low of −∞: anywhere below.

    Guessed is the mass of what is less likely than a score. No token weighs much there, so whether the sample has it
    decides little: the variance of a sampled mass m of weights up to w is at most m w.
    """
    step = -(-weights.scores.size // SAMPLE)
    scores, coarse = weights.scores[::step], weights.coarse[::step]
    span = min(weights.top - float(scores.min()), DEEPEST * weights.temperature)
    if span < LEVEL * weights.temperature:
        return -np.inf, weights.top
    depths = (np.float32(weights.top) - scores) * np.float32(BINS / span)
    bins = np.minimum(depths, np.float32(BINS), out=depths).astype(np.intp)
    edges = np.arange(-BINS, 1) * (span / BINS)  # between the bins, below the highest score
    masses = np.cumsum(np.bincount(bins, coarse, BINS + 1)[::-1])  # of the sample, below each edge
    doubt = SURE * np.sqrt(np.exp(edges / weights.temperature) * masses)
    beyond = (1.0 - top_p) * weights.total / step
    outside, inside = (int(np.searchsorted(bound, beyond)) for bound in (masses + doubt, masses - doubt))
    low = weights.top + float(edges[outside - 1]) if outside else -np.inf
    if outside > 1 and np.count_nonzero(scores >= low) < MANY:
        ids = likeliest(scores, MANY)
        low = max(float(scores[ids].min()) if ids.size == MANY else -np.inf, weights.top - span)
    return low, weights.top + float(edges[min(inside, BINS)])


def _between(weights: Weights, low: float, high: float, top_p: float, *, exact: bool) -> Kept | None:
    """The nucleus, if it ends between two scores, those included; None: it does not, or float32 cannot tell.

    `exact`: whether float64 tells.
    """
    inside = weights.scores >= np.float32(low)
    if high >= weights.top:
        found = _ending(weights, np.flatnonzero(inside), 0.0, top_p, exact=exact)
        return None if found is None else Kept(found)
    above = weights.scores > np.float32(high)
    inside ^= above
    sums = block_sums(weights.exact if exact else weights.coarse, above)
    found = _ending(weights, np.flatnonzero(inside), float(sums.sum()), top_p, exact=exact)
    if found is None:
        return None
    above[found] = True
    sums += np.bincount(found // BLOCK, weights.at(found), sums.size)
    return Kept(each=above, sums=sums)


def _ending(weights: Weights, ids: Indices, begin: float, top_p: float, *, exact: bool) -> Indices | None:
    """Those of ascending `ids` that are in the nucleus, if it ends among them; None: see `_between`.

    `begin` is the mass of all that is likelier.
    """
    scores = weights.scores[ids]
    ordered = np.sort(scores)[::-1]
    ends = np.cumsum(np.append(begin, weights.of(ordered)))
    total = float(weights.exact.sum()) if exact else weights.total
    wanted = top_p * total
    if not begin < wanted <= ends[-1] or (not exact and (np.abs(ends - wanted) < SLACK * total).any()):
        return None
    count = int(np.searchsorted(ends[:-1], wanted))
    kept = np.flatnonzero(scores >= ordered[count - 1])
    if kept.size > count:  # of those alike, the last do not fit
        alike = np.flatnonzero(scores == ordered[count - 1])
        kept = np.setdiff1d(kept, alike[count - kept.size :])
    return ids[kept]
