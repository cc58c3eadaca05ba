"""Problems with a grader: four families, seeded, with a test side that training never sees.

Difficulty is the number of operations.  A stable hash of the question's text decides whether a problem belongs to the
training side or to the held-out side, so the two cannot overlap whatever the seeds.
"""

import hashlib
import re
from dataclasses import dataclass, field

import numpy as np

from models.reasoner.families import arith, lists, variables, words
from models.reasoner.families.draft import pick
from models.reasoner.steps import Step, work

_DRAW = {"arith": arith.draw, "words": words.draw, "lists": lists.draw, "vars": variables.draw}

FAMILIES = tuple(_DRAW)
SPLITS = ("easy", "medium", "hard")

OPERATIONS: dict[str, dict[str, tuple[int, int]]] = {
    "arith": {"easy": (2, 2), "medium": (3, 4), "hard": (5, 5)},
    "words": {"easy": (2, 2), "medium": (3, 3), "hard": (4, 5)},
    "lists": {"easy": (1, 2), "medium": (3, 3), "hard": (4, 5)},
    "vars": {"easy": (1, 2), "medium": (3, 3), "hard": (4, 4)},
}
"""Smallest and largest number of operations of each family's splits, both included."""

HELD_OUT_ONE_IN = 8  # one question in this many is never seen in training


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question, its one right answer, and the steps that lead there."""

    family: str
    question: str
    answer: str
    split: str
    opening: str = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def operations(self) -> int:
        """The number of operations: the problem's difficulty."""
        return len(self.steps)


def held_out(question: str) -> bool:
    """Whether a question belongs to the test side: a property of its text alone."""
    digest = hashlib.blake2b(question.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_ONE_IN == 0


def generate(
    family: str, rng: np.random.Generator, *, split: str | None = None, from_held_out: bool = False
) -> Problem:
    """Draw one problem of a family from the training side, or from the held-out side when asked to.

    `split` is "easy", "medium" or "hard"; None: each is equally likely.  Raises ValueError for unknown names.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: expected one of {', '.join(FAMILIES)}")
    if split is not None and split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    chosen = split if split is not None else pick(rng, SPLITS)
    low, high = OPERATIONS[family][chosen]
    while True:
        draft = _DRAW[family](rng, int(rng.integers(low, high + 1)))
        if held_out(draft.question) is from_held_out:
            return Problem(
                family=family,
                question=draft.question,
                answer=str(work(draft.steps)[-1].result),
                split=chosen,
                opening=draft.opening,
                steps=draft.steps,
            )


_BOXED = re.compile(r"\\boxed\s*\{\s*([^{}]*?)\s*\}")


def extract(text: str) -> str | None:
    """The content of the last `\\boxed{...}` after the thought; None: there is none."""
    found = _BOXED.findall(text.rsplit("</think>", 1)[-1])
    return found[-1] if found else None


def grade(text: str, problem: Problem) -> bool:
    """Whether the last `\\boxed{...}` of a final answer is right; a full output with its thought may be given too."""
    found = extract(text)
    if found is None:
        return False
    cleaned = re.sub(r"[\s,$]|\\[,;!]", "", found).rstrip(".").casefold()
    if re.fullmatch(r"[+-]?\d+(\.0+)?", cleaned):
        return str(int(cleaned.split(".")[0])) == problem.answer
    return cleaned == problem.answer.casefold()
