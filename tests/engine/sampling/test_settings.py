"""Settings of the sampler out of range are refused with the value and the limit."""

from __future__ import annotations

from typing import Any

import pytest

from engine.base import Request
from engine.sampling.settings import Sampling


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"min_p": 1.5}, "min_p is 1.5, must lie in 0…1"),
        ({"min_p": float("nan")}, "min_p is nan, must lie in 0…1"),
        ({"presence_penalty": -2.1}, "presence_penalty is -2.1, must lie in -2…2"),
        ({"frequency_penalty": 3}, "frequency_penalty is 3, must lie in -2…2"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0, must be above 0 and finite"),
        ({"repetition_penalty": float("inf")}, "repetition_penalty is inf, must be above 0 and finite"),
        ({"logit_bias": ((3, 101.0),)}, "logit_bias of token 3 is 101.0, must lie in -100…100"),
        ({"logit_bias": ((3, 1.0), (3, 2.0))}, "logit_bias has token 3 twice, must have it once"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        Sampling(**values)


@pytest.mark.parametrize("count", [-1, 129])
def test_more_log_probabilities_than_there_may_be_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"^log_probs is {count}, must lie in 0…128$"):
        Request(prompt=(1,), max_new_tokens=1, log_probs=count)
