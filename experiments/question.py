"""A question with the functions that grade its answers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.grading.grade import Grade

Graded = Grade | bool  # a plain truth value: graded exactly


def _same_text(answer: str, other: str) -> Graded:
    return answer.split() == other.split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question and its graders."""

    text: str
    benchmark: str
    split: str | None  # of the benchmark, such as a level of difficulty; None: the benchmark has no splits
    grade: Callable[[str], Graded]  # whether a whole reply is right
    grade_boxed: Callable[[str], Graded]  # whether a bare answer is right, as a probe decodes it
    same: Callable[[str, str], Graded] = _same_text  # whether an answer is the same as another, right or wrong
    gold: str = ""  # the right answer, as its source states it; empty: the graders alone know it

    @property
    def key(self) -> str:
        """What tells the question from others, whatever its benchmark: a hash of its text and its right answer."""
        return hashlib.sha256(json.dumps([self.text, self.gold]).encode()).hexdigest()


def in_rounds(pool: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Returns the numbers of `count` questions: all `pool` in random order, then again in another order, and so on."""
    rounds = [rng.permutation(pool) for _ in range(math.ceil(count / pool))]
    return np.concatenate([np.zeros(0, dtype=np.int64), *rounds])[:count]
