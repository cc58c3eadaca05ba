"""Which code runs the torch engine's forward pass."""

from __future__ import annotations

from enum import StrEnum


class Runner(StrEnum):
    """The code that runs the forward pass; naming it does not load torch."""

    AUTO = "auto"  # bare if the architecture allows it
    BARE = "bare"  # LASER's own loop over the layers, for the architectures that it knows
    TRANSFORMERS = "transformers"  # the model class of transformers
