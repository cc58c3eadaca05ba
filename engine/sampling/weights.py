"""The weights of a row's tokens, exp((score − highest) / temperature), and sums of them.

A vocabulary has 150,000 tokens. A first pass over them is in float32; where its rounding could decide, the caller asks
for float64.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Bools: TypeAlias = npt.NDArray[np.bool_]
Indices: TypeAlias = npt.NDArray[np.intp]
Sums: TypeAlias = npt.NDArray[np.float64]

FEW = 1024  # so few tokens are weighed in float64 at once
BLOCK = 256  # tokens of a partial sum
STEEP = 1e-3  # lower temperatures are too steep for float32
REACH = 800.0  # temperatures below the highest score, from where on a weight is 0 in float64
LEAST_LEFT = 1e-20  # of the likeliest token's weight: less cannot be told in float32 for certain
SLACK = 2.0**-22  # what a share, a sum over float32 weights by their total, may be off by: 1.6e-7 was the most seen


class Kept(NamedTuple):
    """Which tokens are left: ascending indices or, of many, whether each is; neither: all are."""

    ids: Indices | None = None
    each: Bools | None = None
    sums: Sums | None = None  # the block sums of what is kept, with `each`; None: they are not known


class Weights:
    """Weights of `scores` (n,), of which at least one is above −∞."""

    def __init__(self, scores: Floats, temperature: float, top: float | None = None) -> None:
        """`top` is at least the highest score; None: that is looked for."""
        self.scores = scores
        self.temperature = temperature
        self.top = float(scores.max()) if top is None else top
        self.few = scores.size <= FEW or temperature < STEEP

    def of(self, scores: Floats) -> npt.NDArray[np.float64]:
        """The weights of some of the scores, in float64."""
        if self.temperature < STEEP:
            with np.errstate(over="ignore"):  # a vanishing temperature leaves 0 and −∞: greedy
                return self._of(scores)
        return self._of(scores)

    def _of(self, scores: Floats) -> npt.NDArray[np.float64]:
        weights = scores.astype(np.float64)
        weights -= self.top
        weights /= self.temperature
        np.exp(weights, out=weights)
        return weights

    def among(self, allowed: Bools, scores: Floats) -> Weights | None:
        """Those of `scores`, which are −∞ where nothing is allowed, from what is there; None: too little is left.

        Their `top` stays that of all scores, which may lie above each of theirs.
        """
        if self.few:
            return None
        found = Weights(scores, self.temperature, self.top)
        found.coarse = self.coarse * allowed
        return found if found.total > LEAST_LEFT else None

    def at(self, ids: Indices) -> npt.NDArray[np.float64]:
        """The weights of the scores at `ids`, in float64."""
        return self.exact[ids] if self.few else self.of(self.scores[ids])

    @cached_property
    def exact(self) -> npt.NDArray[np.float64]:
        """The weights of all scores, in float64."""
        return self.of(self.scores)

    @cached_property
    def coarse(self) -> Floats:
        """The weights of all scores, in float32."""
        weights = self.scores - np.float32(self.top)
        if self.temperature != 1.0:
            weights *= np.float32(1.0 / self.temperature)
        np.exp(weights, out=weights)
        return weights

    @cached_property
    def total(self) -> float:
        """The sum of all weights; of many, but for some 1e-7 of it."""
        return float(self.exact.sum() if self.few else block_sums(self.coarse).sum())


def block_sums(weights: npt.NDArray[Any], kept: Bools | None = None) -> Sums:
    """The sums of each BLOCK weights, the last one's of what is left; of those that are `kept`, None: of all."""
    whole = weights.size // BLOCK * BLOCK
    blocks, rest = weights[:whole].reshape(-1, BLOCK), weights[whole:]
    if kept is None:
        sums = np.einsum("ij->i", blocks)
    else:
        sums = np.einsum("ij,ij->i", blocks, kept[:whole].astype(weights.dtype).reshape(-1, BLOCK))
        rest = rest[kept[whole:]]
    return np.append(sums.astype(np.float64, copy=False), rest.sum(dtype=np.float64))


def likeliest(scores: Floats, count: int) -> Indices:
    """Ascending indices of the `count` highest scores above −∞, or of all there are; of two alike the lower index.

    The count-th highest of the maxima of disjoint groups is a lower bound of the count-th highest score: what lies
    below it is never looked at again.
    """
    groups = scores.size // 64
    bound = -np.inf
    if groups > 2 * count:
        maxima = scores[: 64 * groups].reshape(64, groups).max(axis=0)
        bound = float(np.partition(maxima, groups - count)[groups - count])
    ids = np.flatnonzero(scores >= bound) if bound > -np.inf else np.flatnonzero(scores > -np.inf)
    if ids.size > count:
        ids = np.sort(ids[np.argsort(-scores[ids], kind="stable")[:count]])
    return ids
