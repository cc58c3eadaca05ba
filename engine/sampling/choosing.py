"""Which token comes next, of all that a sequence asks of its sampler; the same for every engine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.sampling.drawing import draw, without
from engine.sampling.masks import SPARSE, masked
from engine.sampling.settings import Sampling
from engine.sampling.weights import Bools, Floats, Indices, Weights


class Choice(NamedTuple):
    """A token, and whether it stands in the place of a banned one that the model chose."""

    token: int
    averted: bool


def choose(
    logits: Floats,
    best: int,
    sampling: Sampling,
    position: int,
    *,
    stops: frozenset[int],
    banned: frozenset[int],
    allowed: Bools | None = None,
    weights: Weights | None = None,
) -> Choice | None:
    """The next token, none of `stops` and none of `banned`; None: `allowed` lets none follow.

    `logits` (vocabulary,) are adjusted already, `best` is their argmax. `allowed` says of each token whether a mask
    lets it follow, None: of every one; where it leaves nothing else, banned tokens are drawn, then stops. A draw that
    is not banned stands as if nothing were; one that is banned is replaced by an independent draw among the others.
    `weights`, if they are given, are those of the logits at temperature 1.
    """
    if allowed is not None:
        return _under_mask(logits, allowed, sampling, position, stops=stops, banned=banned)
    if sampling.temperature == 0.0 and best not in stops:
        token = best
    else:
        token = draw(logits, sampling, position, stops, weights=weights if sampling.temperature == 1.0 else None)
    if token not in banned:
        return Choice(token, False)
    return Choice(draw(logits, sampling, position, stops | banned, again=True), True)


def _under_mask(
    logits: Floats, allowed: Bools, sampling: Sampling, position: int, *, stops: frozenset[int], banned: frozenset[int]
) -> Choice | None:
    """As `choose`, among the tokens that are allowed; a draw is the same whether they are gathered or masked."""
    count = int(np.count_nonzero(allowed))
    if not count:
        return None
    ids: Indices | None = None
    if count * SPARSE <= allowed.size:
        ids = np.flatnonzero(allowed)
        scores = logits[ids]
    else:
        scores = masked(logits, allowed)
    scores = _leaving_any(scores, _places(stops, allowed, ids))
    at = int(scores.argmax())
    if scores[at] == -np.inf:
        return None
    if sampling.temperature > 0.0:
        at = draw(scores, sampling, position)
    token = at if ids is None else int(ids[at])
    if token not in banned:
        return Choice(token, False)
    others = _leaving_any(scores, _places(banned, allowed, ids))
    if others is scores:
        return Choice(token, False)
    at = draw(others, sampling, position, again=True)
    return Choice(at if ids is None else int(ids[at]), True)


def _places(tokens: frozenset[int], allowed: Bools, ids: Indices | None) -> frozenset[int]:
    """Where among the scores those of `tokens` lie that are allowed."""
    found = [token for token in tokens if token < allowed.size and allowed[token]]
    return frozenset(found if ids is None else np.searchsorted(ids, found).tolist())


def _leaving_any(scores: Floats, places: frozenset[int]) -> Floats:
    """Returns the scores without those at `places`; the same ones if none would be left."""
    if not places:
        return scores
    left = without(scores, places)
    return left if left.max() > -np.inf else scores
