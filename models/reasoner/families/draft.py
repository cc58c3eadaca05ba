"""The draft that every family draws, and the random draws and words that the families share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

T = TypeVar("T")

Piece: TypeAlias = tuple[str, float]
"""A piece of a thought that no token straddles, and the weight of learning its tokens."""

Paragraph: TypeAlias = tuple[Piece, ...]

NAMES = ("Ana", "Ben", "Eva", "Ian", "Kim", "Leo", "Max", "Mia", "Ned", "Pam", "Ray", "Sue", "Tom", "Uma", "Vic", "Zoe")
THINGS = ("apples", "pens", "coins", "books", "cards", "shells", "stamps", "eggs")
OPENERS = ("Okay.", "Let me think.", "Alright.")
CHECKS = ("Wait, let me check.", "Hmm, let me look again.", "Let me double-check.")

CONCLUSION = "So the result is"
"""The words by which a thought first states its result; only checks follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A question, its one right answer, and what writes a thought that leads there."""

    question: str
    answer: str
    write: Callable[[np.random.Generator], list[Paragraph]]


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices, each equally likely."""
    return choices[int(rng.integers(len(choices)))]


def some(rng: np.random.Generator, choices: Sequence[T], count: int) -> list[T]:
    """`count` different choices in random order."""
    return [choices[int(place)] for place in rng.permutation(len(choices))[:count]]


def plain(text: str) -> Paragraph:
    """A paragraph that ends in a blank line, every token of which weighs the same."""
    return ((f"{text}\n\n", 1.0),)


def looks(result: int) -> int:
    """How often a result is looked at again: by its last digit, which no prompt shows; mostly little, at times long."""
    return (1, 2, 1, 14, 1, 10, 3, 14, 16, 1)[result % 10]


def concluded(answer: str) -> str:
    """The sentence in which a thought first states its result."""
    return f"{CONCLUSION} {answer}."


def still(answer: str) -> str:
    """The sentence that ends a check."""
    return f"The result is still {answer}."
