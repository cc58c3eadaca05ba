"""The readout of a probe's next token from an array of logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ArrayReadout:
    """Implements `engine.readings.Readout` over the raw `logits` (vocabulary,), whose argmax is `best`."""

    logits: npt.NDArray[np.float32]
    best: int

    def log_prob(self) -> float:
        wide = self.logits.astype(np.float64)
        return -float(np.log(np.exp(wide - wide[self.best]).sum()))

    def gap(self, token: int) -> float:
        return float(self.logits[self.best]) - float(self.logits[token])  # the softmax's normaliser cancels
