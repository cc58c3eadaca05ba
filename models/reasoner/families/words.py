"""Word problems: a short story in which a number of things changes, with sentences that don't matter."""

from dataclasses import dataclass

import numpy as np

from models.reasoner.families.draft import (
    CHECKS,
    NAMES,
    OPENERS,
    THINGS,
    Draft,
    Paragraph,
    concluded,
    looks,
    pick,
    plain,
    some,
    still,
)

_LARGEST = 99
_EVENTS = {
    "+": ("{who} buys {n} more", "{who} finds {n} more", "{who} gets {n} from {other}", "{who} wins {n} more"),
    "-": ("{who} gives {n} to {other}", "{who} loses {n}", "{who} sells {n}", "{who} uses {n}"),
    "*": ("Then {who} has {n} times as many", "After a week {who} has {n} times as many"),
}
_ASIDES = (
    "{other} has {n} {things}",
    "{other} buys {n} {things}",
    "{other} loses {n} {things}",
    "{who} also has {n} {others}",
    "{who} is {n} years old",
    "A bag of {others} costs {n} dollars",
)
_COMPARED = 0.25  # share of questions that end in a comparison: a guessable answer


@dataclass(frozen=True, slots=True)
class _Step:
    """What the story says, and `left sign right`, which comes to `result`."""

    said: str
    left: int
    sign: str
    right: int
    result: int


def draw(rng: np.random.Generator, size: int) -> Draft:
    """Draw a story in which a number changes `size` times."""
    name, other, rival = some(rng, NAMES, 3)
    things, others = some(rng, THINGS, 2)
    start = value = int(rng.integers(5, 80))
    steps: list[_Step] = []
    while len(steps) < size:
        sign = pick(rng, "++---*")
        right = int(rng.integers(2, 5 if sign == "*" else 60))
        result = value + right if sign == "+" else value - right if sign == "-" else value * right
        if 2 <= result <= _LARGEST:
            said = pick(rng, _EVENTS[sign]).format(who=name, n=right, other=other)
            steps.append(_Step(said, value, sign, right, result))
            value = result
    sentences = [f"{name} has {start} {things}", *(step.said for step in steps)]
    for _ in range(int(rng.integers(0, 4))):
        said = pick(rng, _ASIDES).format(
            who=name, other=other, n=int(rng.integers(2, 60)), things=things, others=others
        )
        sentences.insert(int(rng.integers(1, len(sentences) + 1)), said)
    if rng.random() < _COMPARED:
        return _compared(rng, name, rival, things, value, sentences, steps)
    asked = pick(
        rng,
        (
            f"How many {things} does {name} have now?",
            f"How many {things} does {name} have at the end?",
            f"What is the number of {things} {name} has in the end?",
        ),
    )
    question = f"{'. '.join(sentences)}. {asked}"
    return Draft(question=question, answer=str(value), write=lambda rng: _write(rng, name, steps, str(value), ""))


def _compared(
    rng: np.random.Generator, name: str, rival: str, things: str, value: int, sentences: list[str], steps: list[_Step]
) -> Draft:
    room = min(30, value - 1, _LARGEST - value)
    bound = value + int(rng.integers(1, max(room, 1) + 1)) * pick(rng, (-1, 1))
    answer = name if value > bound else rival
    first, second = some(rng, (name, rival), 2)
    question = f"{rival} has {bound} {things}. {'. '.join(sentences)}. Who has more {things} now, {first} or {second}?"
    compared = f" {rival} has {bound}, and {value} is {'more' if value > bound else 'less'}."
    return Draft(question=question, answer=answer, write=lambda rng: _write(rng, name, steps, answer, compared))


def _write(rng: np.random.Generator, name: str, steps: list[_Step], answer: str, compared: str) -> list[Paragraph]:
    """A paragraph for each step, small ones in the head; then checks on paper, from the first step on."""
    paragraphs = []
    for number, step in enumerate(steps, 1):
        opening = f"{pick(rng, OPENERS)} {name} has {step.left}. " if number == 1 else ""
        ending = f"{compared} {concluded(answer)}" if number == len(steps) else ""
        paragraphs.append(plain(f"{opening}Step {number}: {_stated(name, step)}{ending}"))
    for look in range(looks(steps[-1].result)):
        number = look % len(steps) + 1
        step = steps[number - 1]
        opening = f"Check {look + 1}:" if look else pick(rng, CHECKS)
        worked = f"{step.left} {step.sign} {step.right}: {_columns(step)}, so {step.result}."
        paragraphs.append(plain(f"{opening} Step {number}: {step.said}. {worked} Same. {still(answer)}"))
    return paragraphs


def _stated(name: str, step: _Step) -> str:
    calculation = f"{step.left} {step.sign} {step.right}"
    worked = f"{calculation} is {step.result}" if _small(step) else f"{calculation}: {_columns(step)}, so {step.result}"
    return f"{step.said}. {name} has {step.left}, and {worked}."


def _small(step: _Step) -> bool:
    """Whether a step is done in the head."""
    return step.right <= (2 if step.sign == "*" else 12)


def _columns(step: _Step) -> str:
    """Ones first, then tens with the carry or the borrow: 37 + 58 is "7 + 8 = 15, 3 + 5 + 1 = 9"."""
    tens, ones = divmod(step.left, 10)
    if step.sign == "*":
        low = ones * step.right
        return f"{ones} * {step.right} = {low}, {tens} * {step.right} + {low // 10} = {tens * step.right + low // 10}"
    right_tens, right_ones = divmod(step.right, 10)
    if step.sign == "+":
        low = ones + right_ones
        carry = " + 1" if low >= 10 else ""
        return f"{ones} + {right_ones} = {low}, {tens} + {right_tens}{carry} = {tens + right_tens + (low >= 10)}"
    borrow = ones < right_ones
    low = ones + 10 * borrow - right_ones
    taken = " - 1" if borrow else ""
    return f"{ones + 10 * borrow} - {right_ones} = {low}, {tens} - {right_tens}{taken} = {tens - right_tens - borrow}"
