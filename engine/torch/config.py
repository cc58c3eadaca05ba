"""Which code runs the torch engine's forward pass."""

from __future__ import annotations

from enum import StrEnum


class Runner(StrEnum):
    """A choice that can be named without loading torch."""

    AUTO = "auto"  # bare where the architecture allows it
    BARE = "bare"
    TRANSFORMERS = "transformers"
