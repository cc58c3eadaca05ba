"""How the next token is drawn: what a request may ask of the sampler."""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST_PENALTY = 2.0  # of presence and frequency, either way
MOST_BIAS = 100.0  # of a token's logit, either way


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn; temperature 0 is greedy. The randomness depends on (seed, position) alone.

    A row's raw logits go through these steps, in this order: logit_bias is added; repetition_penalty, then
    frequency_penalty and presence_penalty are taken; tokens that may not be sampled are left out (the constraint's
    mask, unarmed stops); temperature divides; top_k and min_p, then top_p cut. Greedy rows take all steps up to the
    temperature. A banned token is drawn like any other and then replaced, see `engine.sampling.choosing`.
    """

    temperature: float = 0.0
    top_k: int = 0  # 0: unlimited
    top_p: float = 1.0
    seed: int = 0
    min_p: float = 0.0  # the least probability that is sampled, as a share of the likeliest token's; 0: any
    presence_penalty: float = 0.0  # taken from the logit of every token that is among the new ones
    frequency_penalty: float = 0.0  # taken from a token's logit once for each time that it is among the new ones
    # divides positive logits and multiplies negative ones of every token of the prompt and the new ones; 1: nothing
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()  # token and what is added to its logit, each token once

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 100.0:
            raise ValueError(f"temperature is {self.temperature}, must lie in 0…100")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}, must be at least 0")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p}, must lie in (0, 1]")
        if not 0.0 <= self.min_p <= 1.0:
            raise ValueError(f"min_p is {self.min_p}, must lie in 0…1")
        for name in ("presence_penalty", "frequency_penalty"):
            if not -MOST_PENALTY <= getattr(self, name) <= MOST_PENALTY:
                raise ValueError(f"{name} is {getattr(self, name)}, must lie in -{MOST_PENALTY:g}…{MOST_PENALTY:g}")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0.0):
            raise ValueError(f"repetition_penalty is {self.repetition_penalty}, must be above 0 and finite")
        self._check_bias()

    def _check_bias(self) -> None:
        seen: set[int] = set()
        for token, bias in self.logit_bias:
            if token in seen:
                raise ValueError(f"logit_bias has token {token} twice, must have it once")
            if not -MOST_BIAS <= bias <= MOST_BIAS:
                raise ValueError(f"logit_bias of token {token} is {bias}, must lie in -{MOST_BIAS:g}…{MOST_BIAS:g}")
            seen.add(token)

    @property
    def penalises(self) -> bool:
        """Whether what a sequence has said changes its logits."""
        return bool(self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1.0)

    @property
    def adjusts(self) -> bool:
        """Whether the sampler sees other logits than the model's own."""
        return self.penalises or bool(self.logit_bias)


GREEDY = Sampling()
