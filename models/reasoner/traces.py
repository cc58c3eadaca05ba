"""The chain of thought of a problem as text: steps in the head or on paper, the result, and checks that may fix it.

A small step is done in the head: the thought states its result at once, which a small model sometimes gets wrong.  The
others are worked out on paper.  Every step done in the head is checked later on paper, starting from the words of the
problem; if the check finds another result, the thought says so and works the later steps again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from models.reasoner.steps import Calculation, Comparison, Selection, Worked, work
from models.reasoner.tasks import Problem

EXIT = "</think>\n\n**Final Answer**\n\\boxed{"
"""The text that closes a thought: the natural ending and a forced exit have the same tokens."""

DIRECT = "**Final Answer**\n\\boxed{"
"""The text after an empty thought, whose closing marker is part of the prompt."""

END = "<|im_end|>"

CONCLUSION = "So the result is"
"""The words by which a thought first states its result; only checks follow."""


class Part(Enum):
    """The role of a piece of text in training."""

    PLAIN = "plain"
    SLIP = "slip"  # a wrong result: not to be learnt
    VERDICT = "verdict"  # the outcome of a check: a few tokens on which much depends


Piece = tuple[str, Part]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenThought:
    """A thought in paragraphs, each ending in a blank line, and the answer that closes it."""

    paragraphs: tuple[tuple[Piece, ...], ...]
    answer: str
    mistaken: frozenset[int] = frozenset()  # indices of paragraphs at whose end a slip is not yet corrected

    @property
    def texts(self) -> list[str]:
        """The paragraphs as plain text."""
        return ["".join(text for text, _ in pieces) for pieces in self.paragraphs]

    @property
    def thought(self) -> str:
        """Everything between `<think>\\n` and `</think>`."""
        return "".join(self.texts)

    @property
    def pieces(self) -> list[Piece]:
        """Everything that the model writes after the prompt, in pieces that no token straddles."""
        return [*(piece for paragraph in self.paragraphs for piece in paragraph), (closing(self.answer), Part.PLAIN)]

    @property
    def completion(self) -> str:
        """Everything that the model writes after the prompt, `<|im_end|>` included."""
        return "".join(text for text, _ in self.pieces)


def closing(answer: str) -> str:
    """The exit with an answer in it: the target of the natural end and of every forced exit."""
    return f"{EXIT}{answer}}}{END}"


def write(problem: Problem, rng: np.random.Generator, slips: Mapping[int, int] | None = None) -> WrittenThought:
    """Write the thought of a problem; its form follows visible properties of the steps, plus noise.

    `slips` gives wrong results by step, counted from 0: such a step is done in the head, later steps build on it, and
    its check corrects it; None: no slips.  Raises OutOfRange if a slip leads to a number outside 1…99.
    """
    slips = dict(slips or {})
    return _Writer(problem=problem, rng=rng, slips=slips, believed=work(problem.steps, slips)).write()


_OPENERS = ("Okay.", "Let me think.", "Alright.")
_HURRIED = ("Wait, let me check", "Hmm, let me check")
_CHECKS = ("Wait, let me check", "Hmm, let me look again at", "Let me double-check", "Alternatively, I can redo")
_NOISE = 0.08  # share of choices that go against the visible properties


@dataclass(slots=True, kw_only=True)
class _Writer:
    """A thought while it is written; `believed` holds each step with the result that the thought assumes so far."""

    problem: Problem
    rng: np.random.Generator
    slips: dict[int, int]
    believed: list[Worked]
    paragraphs: list[tuple[Piece, ...]] = field(default_factory=list)
    mistaken: set[int] = field(default_factory=set)
    begun: int = 0  # number of steps written so far, slips included

    def write(self) -> WrittenThought:
        last = len(self.believed) - 1
        unchecked: list[int] = []
        for index in range(last + 1):
            step, in_the_head = self.believed[index], index in self.slips or self._follows(_small(self.believed[index]))
            opening = f"{self._pick(_OPENERS)} {self.problem.opening} " if index == 0 else ""
            conclusion = f" {CONCLUSION} {step.result}." if index == last else ""
            self.begun += 1
            before = f"{opening}Step {index + 1}: {_task(step)}"
            if in_the_head:
                result = (f" {step.result}", Part.SLIP if index in self.slips else Part.PLAIN)
                self._add((f"{before} is", Part.PLAIN), result, (f".{conclusion}\n\n", Part.PLAIN))
            else:
                self._add((f"{before}: {_on_paper(step)}.{conclusion}\n\n", Part.PLAIN))
            if in_the_head and index != last and self._follows(_suspicious(step)):
                self._check_at_once(index)
            elif in_the_head:
                unchecked.append(index)
        for place, index in enumerate(unchecked or [self._a_worked_step()]):
            if index in self.slips:
                self._mend(index)
                break
            if place == 0 or self.rng.random() >= _NOISE:
                self._confirm(index)
        answer = str(self.believed[-1].result)
        return WrittenThought(paragraphs=tuple(self.paragraphs), answer=answer, mistaken=frozenset(self.mistaken))

    def _check_at_once(self, index: int) -> None:
        """Check a step before going on, and correct it if it is a slip."""
        check, verdict = self._check(index, self._pick(_HURRIED))
        mended = ""
        if index in self.slips:
            self._correct(index)
            mended = f", so step {index + 1} is {self.believed[index].result}"
        self._add(check, verdict, (f"{mended}.\n\n", Part.PLAIN))

    def _confirm(self, index: int) -> None:
        """Add a check after the result that finds the step right."""
        check, verdict = self._check(index, self._pick(_CHECKS))
        self._add(check, verdict, (f". The result is still {self.believed[-1].result}.\n\n", Part.PLAIN))

    def _mend(self, index: int) -> None:
        """Add a check after the result that finds the step wrong; all later steps are worked again, on paper."""
        check, verdict = self._check(index, self._pick(_CHECKS))
        self._correct(index)
        lines = [f", so step {index + 1} is {self.believed[index].result}"]
        for later in range(index + 1, len(self.believed)):
            lines.append(f"Again step {later + 1}: {_task(self.believed[later])}: {_on_paper(self.believed[later])}")
        lines[-1] += f". The result is now {self.believed[-1].result}"
        for number, line in enumerate(lines):
            rest = (f"{line}.\n\n", Part.PLAIN)
            if number == 0:
                self._add(check, verdict, rest)
            else:
                self._add(rest)

    def _check(self, index: int, opener: str) -> tuple[Piece, Piece]:
        """A check, the step worked on paper from the problem's words and the result written before; and its verdict."""
        written = self.believed[index]
        truth = work(self.problem.steps, {i: s for i, s in self.slips.items() if i < index})[index]
        again = f"{_task(truth)}: {_on_paper(truth)}"
        check = f"{opener} step {index + 1}. {again[0].upper()}{again[1:]}. I wrote {written.result}:"
        return (check, Part.PLAIN), (" same" if truth.result == written.result else " different", Part.VERDICT)

    def _correct(self, index: int) -> None:
        del self.slips[index]
        self.believed = work(self.problem.steps, self.slips)

    def _a_worked_step(self) -> int:
        """The step to check if none was done in the head: the last step that is not a comparison."""
        steps = self.problem.steps
        return len(steps) - 2 if isinstance(steps[-1], Comparison) and len(steps) > 1 else len(steps) - 1

    def _add(self, *pieces: Piece) -> None:
        self.paragraphs.append(pieces)
        if any(index < self.begun for index in self.slips):
            self.mistaken.add(len(self.paragraphs) - 1)

    def _follows(self, visible: bool) -> bool:
        return visible != (self.rng.random() < _NOISE)

    def _pick(self, choices: Sequence[str]) -> str:
        return choices[int(self.rng.integers(len(choices)))]


def _small(step: Worked) -> bool:
    """Whether a step is small enough to do in the head: a small right operand, or a short list."""
    if isinstance(step.step, Calculation):
        return step.numbers[1] <= (4 if step.step.sign == "*" else 50)
    return isinstance(step.step, Selection) and len(step.numbers) <= 4


def _suspicious(step: Worked) -> bool:
    """Whether a result found in the head is checked at once: it is a multiple of 5."""
    return isinstance(step.result, int) and step.result % 5 == 0


def _task(step: Worked) -> str:
    """The task of a step in the problem's words, up to where the result or the working follows."""
    if isinstance(step.step, Selection):
        return f"the {step.step.wanted} of {', '.join(map(str, step.numbers))}"
    left, right = step.numbers
    given = step.step.given.format(left=left, right=right)
    sign = step.step.sign if isinstance(step.step, Calculation) else _relation(step)
    return f"the problem says {step.step.quote}. {given}, and {left} {sign} {right}"


def _on_paper(step: Worked) -> str:
    """The working of a step and its result."""
    if isinstance(step.step, Calculation):
        return f"{_columns(step.numbers, step.step.sign)}, so {step.result}"
    if isinstance(step.step, Selection):
        return f"{_scan(step.numbers, step.step.wanted)}, so {step.result}"
    return f"{step.numbers[0]} is {'more' if _relation(step) == '>' else 'less'}, so {step.result}"


def _relation(step: Worked) -> str:
    left, right = step.numbers
    return ">" if left > right else "<" if left < right else "="


def _scan(items: Sequence[int], wanted: str) -> str:
    """Walk through the items in order and state the best so far after each."""
    best = items[0]
    words = [f"begin at {best}"]
    for item in items[1:]:
        better = item > best if wanted == "largest" else item < best
        best = item if better else best
        words.append(f"{item} {'take' if better else 'keep'} {best}")
    return ", ".join(words)


def _columns(numbers: Sequence[int], sign: str) -> str:
    """Ones first, then tens with the carry or the borrow: 37 + 58 is "7 + 8 = 15, 3 + 5 + 1 = 9"."""
    left, right = numbers
    tens, ones = divmod(left, 10)
    if sign == "*":
        low = ones * right
        return f"{ones} * {right} = {low}, {tens} * {right} + {low // 10} = {tens * right + low // 10}"
    right_tens, right_ones = divmod(right, 10)
    if sign == "+":
        low = ones + right_ones
        carry = " + 1" if low >= 10 else ""
        return f"{ones} + {right_ones} = {low}, {tens} + {right_tens}{carry} = {tens + right_tens + (low >= 10)}"
    borrow = ones < right_ones
    low = ones + 10 * borrow - right_ones
    taken = " - 1" if borrow else ""
    return f"{ones + 10 * borrow} - {right_ones} = {low}, {tens} - {right_tens}{taken} = {tens - right_tens - borrow}"
