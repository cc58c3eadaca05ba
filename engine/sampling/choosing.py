"""Which token comes next, of all that a sequence asks of its sampler; the same for every engine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.sampling.drawing import draw, without
from engine.sampling.masks import SPARSE, MaskedRow, masked
from engine.sampling.settings import Sampling
from engine.sampling.weights import Bools, Floats, Indices, Weights


class ChosenToken(NamedTuple):
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
    held: MaskedRow | None = None,
    weights: Weights | None = None,
) -> ChosenToken | None:
    """The next token, none of `stops` and none of `banned`; None: the mask lets none follow.

    `logits` (vocabulary,) are adjusted already, `best` is their argmax. `held`: they under a mask; None: there is none.
    Where it leaves nothing else, banned tokens are drawn, then stops. A draw that is not banned stands as if nothing
    were; one that is banned is replaced by an independent draw among the others. `weights`, if they are given, are
    those of the logits at temperature 1.
    """
    if held is not None:
        greedy = sampling.temperature == 0.0 and held.allowed[best] and best not in stops and best not in banned
        if greedy and logits[best] > -np.inf:
            return ChosenToken(best, False)
        shared = weights if sampling.temperature == 1.0 else None
        return _under_mask(logits, held, sampling, position, stops=stops, banned=banned, weights=shared)
    if sampling.temperature == 0.0 and best not in stops:
        token = best
    else:
        if weights is not None and 0.0 < sampling.temperature != 1.0:
            weights = Weights(logits, sampling.temperature, weights.top)
        token = draw(logits, sampling, position, stops, weights=weights)
    if token not in banned:
        return ChosenToken(token, False)
    return ChosenToken(draw(logits, sampling, position, stops | banned, again=True), True)


def _under_mask(
    logits: Floats,
    held: MaskedRow,
    sampling: Sampling,
    position: int,
    *,
    stops: frozenset[int],
    banned: frozenset[int],
    weights: Weights | None,
) -> ChosenToken | None:
    """As `choose`, among the tokens that are allowed; a draw is the same whether they are gathered or masked."""
    allowed = held.allowed
    count = int(np.count_nonzero(allowed))
    if not count:
        return None
    ids: Indices | None = None
    if count * SPARSE <= allowed.size:
        ids = np.flatnonzero(allowed)
        every = logits[ids]
    else:
        every = masked(logits, allowed) if held.scores is None else held.scores
    scores = _leaving_any(every, _places(stops, allowed, ids)) if stops else every
    at = held.best if scores is held.scores and held.best is not None else int(scores.argmax())
    top = float(scores[at])
    if top == -np.inf:
        return None
    if sampling.temperature > 0.0:
        shared = weights is not None and ids is None and scores is every and sampling.min_p == 0.0
        left = weights.among(allowed, scores) if weights is not None and shared else None
        at = draw(scores, sampling, position, weights=left or Weights(scores, sampling.temperature, top))
    token = at if ids is None else int(ids[at])
    if token not in banned:
        return ChosenToken(token, False)
    others = _leaving_any(scores, _places(banned, allowed, ids))
    if others is scores:
        return ChosenToken(token, False)
    at = draw(others, sampling, position, again=True)
    return ChosenToken(at if ids is None else int(ids[at]), True)


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
