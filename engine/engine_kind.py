"""Which engine decodes."""

from __future__ import annotations

from enum import StrEnum


class EngineKind(StrEnum):
    """A choice that can be named without loading torch."""

    AUTO = "auto"  # ExLlamaV2 where it can serve the model, else torch
    TORCH = "torch"  # any CPU
    EXLLAMA = "exllama"  # ExLlamaV2, on a CUDA GPU
