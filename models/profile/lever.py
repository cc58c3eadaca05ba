"""Levers beside threshold and budget, which a policy may put in use where the profile has their points tabulated."""

from __future__ import annotations

from enum import StrEnum


class Lever(StrEnum):
    """A lever by its name."""

    GIVE_UP = "give-up"  # hopeless thoughts are closed with their best trial answer
    PRICE_INDEX = "price-index"  # thoughts are closed by their index at a price of a token row, not by a threshold
    NO_THOUGHT = "no-thought"  # prompts that need no thought are answered at once
    WIDTH = "width"  # several thoughts of one prompt race where places are idle
