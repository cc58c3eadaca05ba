"""Problems with a grader: five families, seeded, with a test side that training never sees.

A stable hash of the question's text decides whether a problem belongs to the training side or to the held-out side, so
the two cannot overlap whatever the seeds.
"""

import hashlib
import re
from dataclasses import dataclass, field

import numpy as np

from models.reasoner.families import countdown, highest, recall, tally, words
from models.reasoner.families.draft import Draft, pick
from models.reasoner.traces import WrittenThought

_DRAW = {
    "recall": recall.draw,
    "words": words.draw,
    "tally": tally.draw,
    "highest": highest.draw,
    "countdown": countdown.draw,
}

FAMILIES = tuple(_DRAW)
SPLITS = ("easy", "medium", "hard")

SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    "recall": {"easy": (3,), "medium": (4, 5), "hard": (6, 7)},
    "words": {"easy": (2,), "medium": (3,), "hard": (4, 5)},
    "tally": {"easy": (5, 7), "medium": (7, 9), "hard": (15, 17)},
    "highest": {"easy": (4, 5), "medium": (6, 7), "hard": (9, 10)},
    "countdown": {"easy": (2, 2, 3), "medium": (4,), "hard": (4, 5, 5)},
}
"""How many numbers, changes, tickets, players or signs the questions of each split have, all equally likely."""

HELD_OUT_ONE_IN = 8  # one question in this many is never seen in training


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question and its one right answer."""

    family: str
    question: str
    answer: str
    split: str
    size: int  # of its family's own unit
    _draft: Draft = field(repr=False, compare=False)

    def thought(self, rng: np.random.Generator) -> WrittenThought:
        """Write a thought that leads to the answer; its form is drawn."""
        return WrittenThought(paragraphs=tuple(self._draft.write(rng)), answer=self.answer)


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
    size = pick(rng, SIZES[family][chosen])
    while True:
        draft = _DRAW[family](rng, size)
        if held_out(draft.question) is from_held_out:
            return Problem(
                family=family, question=draft.question, answer=draft.answer, split=chosen, size=size, _draft=draft
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
    cleaned = _tidy(found)
    if re.fullmatch(r"[+-]?\d+(\.0+)?", cleaned):
        return str(int(cleaned.split(".")[0])) == problem.answer
    return cleaned == _tidy(problem.answer)


def _tidy(answer: str) -> str:
    return re.sub(r"[\s,$]|\\[,;!]", "", answer).rstrip(".").casefold()
