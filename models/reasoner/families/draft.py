"""The draft that every family draws, and the random draws that the families share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from models.reasoner.steps import LARGEST, Step

COMPARED = 0.3  # share of arith and words problems that end in a comparison: a guessable answer


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
    """Whether `value` leaves room on both sides for a bound to compare it with."""
    return 4 <= value <= LARGEST - 3


def bound(rng: np.random.Generator, value: int) -> int:
    """The number to compare `value` with; it lies equally far on either side, so that it alone reveals little."""
    room = min(30, value - 1, LARGEST - value)
    return value + int(rng.integers(1, room + 1)) * pick(rng, (-1, 1))
