"""A question with the functions that grade its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question and its graders."""

    text: str
    benchmark: str
    split: str | None  # of the benchmark, such as a level of difficulty; None: the benchmark has no splits
    grade: Callable[[str], bool]  # whether a whole reply is right
    grade_boxed: Callable[[str], bool]  # whether a bare answer is right, as a probe decodes it
