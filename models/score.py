"""The confidence of a trial answer: its token probabilities combined into one number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum


class Score(StrEnum):
    """How the answer's token probabilities p_1 … p_n become one confidence in 0 … 1; the terminator is not counted."""

    GEOMETRIC_MEAN = "geometric_mean"  # (Π p_i)^(1/n), DEER's default for Qwen3; not itself a probability
    JOINT = "joint"  # Π p_i, the probability of the answer as a whole
    MINIMUM = "minimum"  # min p_i

    def confidence(self, log_probs: Sequence[float]) -> float:
        """The confidence of a finished answer; 0 for an empty answer."""
        if not log_probs:
            return 0.0
        match self:
            case Score.GEOMETRIC_MEAN:
                return math.exp(sum(log_probs) / len(log_probs))
            case Score.JOINT:
                return math.exp(sum(log_probs))
            case Score.MINIMUM:
                return math.exp(min(log_probs))

    def upper_bound(self, log_probs: Sequence[float], max_tokens: int) -> float:
        """The highest confidence that an answer of at most `max_tokens` tokens that begins with `log_probs` can reach.

        Exact: later log-probabilities are at most 0, so a sum never rises, and a mean rises most when all the
        remaining tokens have log p = 0, i.e. Σ log p / max_tokens.
        """
        if self is Score.GEOMETRIC_MEAN:
            return math.exp(sum(log_probs) / max_tokens)
        return self.confidence(log_probs) if log_probs else 1.0
