"""What a probe reads from the logits of its answer's first place, by name; the torch and ExLlamaV2 engines share it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from engine.base import MARGIN, ProbeSpec


def margin(logits: torch.Tensor, best: int, spec: ProbeSpec) -> float:
    """The reading MARGIN. It is a difference of log p: the softmax's normaliser cancels."""
    assert spec.watched is not None, "a ProbeSpec that reads a margin has a token to watch"
    return float(logits[best] - logits[spec.watched])


READOUTS: dict[str, Callable[[torch.Tensor, int, ProbeSpec], float]] = {MARGIN: margin}


def read(logits: torch.Tensor, best: int, spec: ProbeSpec) -> dict[str, float]:
    """Returns all that `spec.read` names; `best` is the argmax of the raw `logits` (vocabulary,)."""
    return {name: READOUTS[name](logits, best, spec) for name in spec.read}
