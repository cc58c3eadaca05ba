"""What a row of logits says of its next token: how likely a token is, and which are likeliest."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from engine.base import TokenLogProbs
from engine.sampling.masks import masked
from engine.sampling.weights import Bools, Floats, Weights, likeliest


@dataclass(slots=True)
class LogitsReadout:
    """Implements `engine.readings.Readout` over the raw `logits` (vocabulary,), whose argmax is `best`."""

    logits: Floats
    best: int
    weights: Weights = field(init=False)

    def __post_init__(self) -> None:
        self.weights = Weights(self.logits, 1.0, float(self.logits[self.best]))

    def log_prob(self, token: int) -> float:
        return float(self.logits[token]) - self.weights.top - math.log(self.weights.total)

    def gap(self, token: int) -> float:
        return self.weights.top - float(self.logits[token])  # the softmax's normaliser cancels

    def best_of(self, allowed: Bools) -> int | None:
        """The likeliest of the tokens that are allowed, the lower of two alike; None: there is none."""
        scores = masked(self.logits, allowed)
        at = int(scores.argmax())
        return at if scores[at] > -np.inf else None

    def told(self, token: int, count: int) -> TokenLogProbs:
        """The log probability of `token`, and the `count` likeliest tokens with theirs."""
        norm = self.weights.top + math.log(self.weights.total)
        ids = likeliest(self.logits, count) if count else np.zeros(0, np.intp)
        ids = ids[np.argsort(-self.logits[ids], kind="stable")]
        values = self.logits[ids].astype(np.float64) - norm
        return TokenLogProbs(
            log_prob=float(self.logits[token]) - norm,
            likeliest=tuple(zip(ids.tolist(), values.tolist(), strict=True)),
        )
