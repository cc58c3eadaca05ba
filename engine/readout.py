"""The readout of a probe's next token from a tensor of logits; each number is computed when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class LogitsReadout:
    """Implements `engine.readings.Readout` over the raw `logits` (vocabulary,), whose argmax is `best`."""

    logits: torch.Tensor
    best: int

    def log_prob(self) -> float:
        return float(self.logits[self.best] - self.logits.logsumexp(dim=-1))

    def gap(self, token: int) -> float:
        return float(self.logits[self.best] - self.logits[token])  # the softmax's normaliser cancels
