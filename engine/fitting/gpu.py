"""The memory that llama.cpp takes for a model where a GPU computes its layers."""

from __future__ import annotations

import sys
from collections.abc import Sequence

UNKNOWN = sys.maxsize  # bytes, where nobody can say how many there are: none are refused before they are asked for
ALL = -1  # layers that a GPU computes


def taken_of(layers: int, gpu_layers: int, gpus: Sequence[int]) -> int | None:
    """Returns the bytes that are free where a model of so many layers goes; None: it goes into main memory.

    `gpus`: what is free in each, 0: it does not tell. UNKNOWN where one does not, and where `gpu_layers` are not all:
    what the others take lies in main memory.
    """
    if not gpu_layers or not gpus:
        return None
    whole = gpu_layers == ALL or gpu_layers > layers  # the output counts as one more
    return sum(gpus) if whole and all(gpus) else UNKNOWN
