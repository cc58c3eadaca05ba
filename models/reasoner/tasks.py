"""Problems with a grader: three families, seeded, with a test side that training never sees.

Difficulty is the number of operations.  A stable hash of the question's text decides whether a problem belongs to the
training side or to the held-out side, so the two cannot overlap whatever the seeds.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

FAMILIES = ("arith", "words", "lists")
SPLITS = ("easy", "medium", "hard")

OPERATIONS: dict[str, dict[str, tuple[int, int]]] = {
    "arith": {"easy": (2, 2), "medium": (3, 4), "hard": (5, 6)},
    "words": {"easy": (2, 2), "medium": (3, 3), "hard": (4, 5)},
    "lists": {"easy": (1, 2), "medium": (3, 3), "hard": (4, 5)},
}
"""Smallest and largest number of operations of each family's splits, both included."""

MODULUS = 100  # arith keeps the last two digits
COMPARED = 0.35  # share of arith and words that end in a comparison: an answer that can be guessed
HELD_OUT_ONE_IN = 8  # share of all questions that training never sees


@dataclass(frozen=True, slots=True, kw_only=True)
class Calculation:
    """One step `left sign right = result`; `quote` is the part of the question that asks for it."""

    quote: str
    left: int
    sign: str
    right: int
    result: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One step that picks the `wanted` ("largest" or "smallest") of `items`, in the order of the question."""

    wanted: str
    items: tuple[int, ...]
    result: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The last step of a question with two possible answers: which holds, given whether `left` > `right`."""

    quote: str
    left: int
    right: int
    result: str


Step = Calculation | Selection | Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question, its one right answer, and the steps that lead there."""

    family: str
    question: str
    answer: str
    operations: int
    split: str
    opening: str = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)


def held_out(question: str) -> bool:
    """Whether a question belongs to the test side: a property of its text alone."""
    digest = hashlib.blake2b(question.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_ONE_IN == 0


def generate(
    family: str, rng: np.random.Generator, *, split: str | None = None, from_held_out: bool = False
) -> Problem:
    """Draw one problem of a family from the training side, or from the held-out side when asked to.

    `split` is "easy", "medium" or "hard"; without it each is equally likely.  Raises ValueError for unknown names.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}: expected one of {', '.join(FAMILIES)}")
    if split is not None and split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    chosen = split if split is not None else _pick(rng, SPLITS)
    low, high = OPERATIONS[family][chosen]
    draw = {"arith": _arith, "words": _words, "lists": _lists}[family]
    while True:
        operations = int(rng.integers(low, high + 1))
        question, opening, steps = draw(rng, operations)
        if held_out(question) is from_held_out:
            return Problem(
                family=family,
                question=question,
                answer=str(steps[-1].result),
                operations=operations,
                split=chosen,
                opening=opening,
                steps=tuple(steps),
            )


_BOXED = re.compile(r"\\boxed\s*\{\s*([^{}]*?)\s*\}")


def extract(text: str) -> str | None:
    """The content of the last `\\boxed{...}` after the thought, or None where there is none."""
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


T = TypeVar("T")


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


# --- arith: a chain of operations of which the last two digits count ------------------------------------------------

_ARITH_QUOTE = {"+": "add", "-": "subtract", "*": "multiply by"}


def _bound(rng: np.random.Generator, value: int) -> int:
    """A number near `value` but not equal to it: what a result is compared with."""
    while True:
        bound = value + int(rng.integers(3, 31)) * _pick(rng, (-1, 1))
        if 2 <= bound < MODULUS:
            return bound


def _apply(left: int, sign: str, right: int) -> int:
    return {"+": left + right, "-": left - right, "*": left * right}[sign]


def _arith(rng: np.random.Generator, operations: int) -> tuple[str, str, list[Step]]:
    start = value = int(rng.integers(5, MODULUS))
    compared = rng.random() < COMPARED
    steps: list[Step] = []
    while len(steps) < operations - compared:
        sign = _pick(rng, "+-*")
        right = int(rng.integers(2, 10 if sign == "*" else MODULUS))
        result = _apply(value, sign, right)
        if result <= 0 or result % MODULUS == 0:
            continue
        quote = f"{_ARITH_QUOTE[sign]} {right}"
        steps.append(Calculation(quote=quote, left=value, sign=sign, right=right, result=result % MODULUS))
        value = result % MODULUS
    question = _arith_question(rng, start, steps)
    if compared:
        bound = _bound(rng, value)
        question = f"{question} Is it greater than {bound}, yes or no?"
        quote = f"is it greater than {bound}?"
        steps.append(Comparison(quote=quote, left=value, right=bound, result="yes" if value > bound else "no"))
    return question, f"Start with {start}.", steps


def _arith_question(rng: np.random.Generator, start: int, steps: Sequence[Step]) -> str:
    calculations = [step for step in steps if isinstance(step, Calculation)]
    wording = int(rng.integers(4))
    if wording == 0:
        expression = str(start)
        for done, step in enumerate(calculations):
            inner = f"({expression})" if done else expression
            expression = f"{inner} {step.sign} {step.right}"
        return f"Compute {expression} and keep only the last two digits after every step."
    quotes = [step.quote for step in calculations]
    if wording == 1:
        listed = ", then ".join(quotes)
        return f"Start with {start}. Then {listed}. After each step keep only the last two digits. What is the result?"
    if wording == 2:
        lines = "\n".join(f"{number}. {quote}" for number, quote in enumerate(quotes, 1))
        return f"Take {start} and do these steps modulo 100:\n{lines}\nWhat do you get?"
    listed = ", ".join(quotes)
    return f"Working modulo 100, begin with {start}: {listed}. Give the final number."


# --- words: a short story in which a number of things changes -------------------------------------------------------

_PEOPLE = (("Mia", "She"), ("Tom", "He"), ("Ana", "She"), ("Ben", "He"), ("Zoe", "She"), ("Leo", "He"))
_THINGS = ("apples", "pens", "coins", "books", "cards", "shells", "stamps", "eggs")
_MORE = ("{who} buys {n} more", "{who} finds {n} more", "{who} gets {n} from {other}", "{who} wins {n} more")
_LESS = ("{who} gives {n} to {other}", "{who} loses {n}", "{who} sells {n}", "{who} uses {n}")
_TIMES = ("Then the number grows to {n} times as many", "After a week {who} has {n} times as many")


def _words(rng: np.random.Generator, operations: int) -> tuple[str, str, list[Step]]:
    order = rng.permutation(len(_PEOPLE))
    (name, pronoun), (other, _), (rival, _) = (_PEOPLE[place] for place in order[:3])
    compared = rng.random() < COMPARED
    things = _pick(rng, _THINGS)
    steps: list[Step] = []
    if rng.random() < 0.3:
        boxes, each = int(rng.integers(2, 10)), int(rng.integers(2, 10))
        value, first = boxes * each, f"{name} has {boxes} boxes with {each} {things} each"
        steps.append(
            Calculation(quote=f"{boxes} boxes with {each} each", left=boxes, sign="*", right=each, result=value)
        )
        opening = f"{name} has {boxes} boxes."
    else:
        value = int(rng.integers(5, 80))
        first, opening = f"{name} has {value} {things}", f"{name} has {value} {things}."
    events: list[str] = []
    while len(steps) < operations - compared:
        sign = _pick(rng, "++---*")
        right = int(rng.integers(2, 5 if sign == "*" else 60))
        result = _apply(value, sign, right)
        if not 2 <= result < 100:
            continue
        form = _pick(rng, {"+": _MORE, "-": _LESS, "*": _TIMES}[sign])
        who = (pronoun if rng.random() < 0.7 and not compared else name) if form.startswith("{who}") else name
        event = form.format(who=who, n=right, other=other)
        events.append(event)
        steps.append(Calculation(quote=event, left=value, sign=sign, right=right, result=result))
        value = result
    if compared:
        bound = _bound(rng, value)
        first = f"{rival} has {bound} {things} and {first}"
        more = name if value > bound else rival
        steps.append(Comparison(quote=f"{rival} has {bound}, who has more?", left=value, right=bound, result=more))
    asked = _pick(
        rng,
        (f"Who has more {things} now, {name} or {rival}?", f"Who has more {things} in the end, {rival} or {name}?")
        if compared
        else (
            f"How many {things} does {name} have now?",
            f"How many {things} are left at the end?",
            f"What is the number of {things} {name} has in the end?",
        ),
    )
    return ". ".join([first, *events, asked]), opening, steps


# --- lists: the k-th largest or smallest by selection, sums and differences of extremes -----------------------------

_RANK = {2: "second ", 3: "third ", 4: "fourth "}
_COUNT = {2: "two", 3: "three"}


def _lists(rng: np.random.Generator, operations: int) -> tuple[str, str, list[Step]]:
    kind = "rank"
    if operations in (3, 5):
        kind = _pick(rng, ("rank", "sum", "difference")) if operations == 3 else "sum"
    wanted = _pick(rng, ("largest", "smallest"))
    picks = {"rank": operations, "sum": (operations + 1) // 2, "difference": 2}[kind]
    length = int(rng.integers(max(picks + 1, 4), 7))
    highest = 99 // picks if kind == "sum" else 99
    items = tuple(int(item) for item in rng.choice(np.arange(3, highest + 1), size=length, replace=False))
    listed = ", ".join(map(str, items))

    steps: list[Step] = []
    chosen: list[int] = []
    left = items
    for number in range(picks):
        which = wanted if kind != "difference" else ("largest", "smallest")[number]
        result = max(left) if which == "largest" else min(left)
        steps.append(Selection(wanted=which, items=left, result=result))
        chosen.append(result)
        left = tuple(item for item in left if item != result)
    if kind == "difference":
        steps.append(_combine(chosen[0], "-", chosen[1]))
        what = "difference between the largest and the smallest number"
    elif kind == "sum":
        total = chosen[0]
        for item in chosen[1:]:
            steps.append(_combine(total, "+", item))
            total += item
        what = f"sum of the {_COUNT[picks]} {wanted} numbers"
    else:
        what = f"{_RANK.get(picks, '')}{wanted} number"
    question = _pick(
        rng,
        (
            f"What is the {what} in the list {listed}?",
            f"Here is a list: {listed}. Find the {what}.",
            f"Given {listed}, what is the {what}?",
        ),
    )
    return question, f"The list has {length} numbers.", steps


def _combine(left: int, sign: str, right: int) -> Calculation:
    quote = "take the sum" if sign == "+" else "take the difference"
    return Calculation(quote=quote, left=left, sign=sign, right=right, result=_apply(left, sign, right))
