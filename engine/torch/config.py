"""Which code runs the torch engine's forward pass, and in which number format."""

from __future__ import annotations

from enum import StrEnum


class Runner(StrEnum):
    """The code that runs the forward pass; naming it does not load torch."""

    AUTO = "auto"  # bare if the architecture allows it
    BARE = "bare"  # LASER's own loop over the layers, for the architectures that it knows
    TRANSFORMERS = "transformers"  # the model class of transformers


class Dtype(StrEnum):
    """The number format in which the torch engine multiplies with a model's matrices; naming it does not load torch."""

    FLOAT32 = "float32"  # as exact as the engine is
    BFLOAT16 = "bfloat16"  # half the memory; refused where its logits are not float32's
    AUTO = "auto"  # bfloat16 if this CPU has instructions for it and the logits agree
