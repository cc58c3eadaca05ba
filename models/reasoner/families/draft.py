"""What every family draws, and the draws that they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from models.reasoner.steps import LARGEST, Step

COMPARED = 0.3  # share of arith and words that end in a comparison: an answer that can be guessed


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A question, the words that open its thought, and its steps."""

    question: str
    opening: str
    steps: tuple[Step, ...]


T = TypeVar("T")


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices, each equally likely."""
    return choices[int(rng.integers(len(choices)))]


def comparable(value: int) -> bool:
    """Whether there is room on both sides of a value for what it is compared with."""
    return 4 <= value <= LARGEST - 3


def bound(rng: np.random.Generator, value: int) -> int:
    """What a comparable value is compared with; as far to either side, so that the bound alone says little."""
    room = min(30, value - 1, LARGEST - value)
    return value + int(rng.integers(1, room + 1)) * pick(rng, (-1, 1))
