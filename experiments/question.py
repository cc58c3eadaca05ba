"""A question with what tells whether an answer is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question and how to tell whether it has been answered."""

    text: str
    benchmark: str
    split: str | None
    grade: Callable[[str], bool]  # of a whole reply
    grade_boxed: Callable[[str], bool]  # of an answer alone, as a probe gives it
