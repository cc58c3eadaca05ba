"""Which signs between numbers make a target: the thought is the search, in an order that it draws first.

Some targets are given up after a part of a long search: the answer is a guess then.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from models.reasoner.families.draft import (
    CHECKS,
    OPENERS,
    Draft,
    Paragraph,
    Piece,
    concluded,
    looks,
    pick,
    plain,
    some,
    still,
)

SIGNS = "+-*"
GIVEN_UP = "This takes too long. I guess."
_LARGEST = 99  # a value outside 0…_LARGEST ends its way
_PATIENCE = 6  # ways after which the search for some targets ends where its first signs change
_VERDICT = 3.0  # weight of whether the target is reached: one token on which all depends


def draw(rng: np.random.Generator, size: int) -> Draft:
    """Draw a question of `size` signs that only one choice of signs solves."""
    while True:
        numbers = [int(rng.integers(2, 26)), *(int(number) for number in rng.integers(2, 10, size=size))]
        ways = {
            signs: values[-1]
            for signs in product(SIGNS, repeat=size)
            if (values := _values(numbers, signs))[-1] is not None
        }
        reached = list(ways.values())
        unique = [signs for signs, value in ways.items() if reached.count(value) == 1 and value >= 2]
        if unique:
            break
    signs = pick(rng, unique)
    target = ways[signs]
    assert target is not None
    listed = f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
    question = pick(
        rng,
        (
            f"Put +, - or * between {listed} so that, worked from left to right, they make {target}. Which signs?",
            f"Which signs out of +, -, * between {listed} give {target}, worked from left to right?",
        ),
    )
    answer = " ".join(signs)
    return Draft(question=question, answer=answer, write=lambda rng: _write(rng, numbers, target, signs))


def _step(left: int, sign: str, right: int) -> int | None:
    value = left + right if sign == "+" else left - right if sign == "-" else left * right
    return value if 0 <= value <= _LARGEST else None


def _values(numbers: Sequence[int], signs: Sequence[str]) -> list[int | None]:
    """The values on the way, up to the end or the first that is out, which is None."""
    values: list[int | None] = [numbers[0]]
    for sign, right in zip(signs, numbers[1:], strict=False):
        left = values[-1]
        if left is None:
            break
        values.append(_step(left, sign, right))
    return values


def _way(numbers: Sequence[int], signs: Sequence[str]) -> str:
    """The steps of a way from left to right: "5 + 3 = 8, 8 - 9 out"."""
    values = _values(numbers, signs)
    steps = zip(values, signs, numbers[1:], values[1:], strict=False)
    return ", ".join(f"{left} {sign} {right} {_reached(value)}" for left, sign, right, value in steps)


def _reached(value: int | None) -> str:
    return "out" if value is None else f"= {value}"


def _write(rng: np.random.Generator, numbers: list[int], target: int, solution: Sequence[str]) -> list[Paragraph]:
    """Goes through all signs but the last in the drawn order, the last one fastest; three ways a paragraph."""
    order = some(rng, SIGNS, len(SIGNS))
    ways = list(_searched(numbers, order, solution[:-1]))
    tried = ways[: _given_up(ways, len(solution) - 3)] if _impatient(target) else ways
    paragraphs = [tuple(_tried(numbers, signs, order, target)) for signs in tried]
    paragraphs[0] = ((f"{pick(rng, OPENERS)} Order {' '.join(order)} . ", 1.0), *paragraphs[0])
    if len(tried) < len(ways):
        return [*paragraphs, ((GIVEN_UP, _VERDICT), ("\n\n", 1.0))]
    answer = " ".join(solution)
    paragraphs[-1] = (*paragraphs[-1], (f" {concluded(answer)}\n\n", 1.0))
    checks = [f"{pick(rng, CHECKS)} {_way(numbers, solution)}, same. {still(answer)}"]
    more = looks(target) // 3 if len(solution) > 2 else 1
    checks += [f"Check {look}: {_way(numbers, solution)}. {still(answer)}" for look in range(2, more + 1)]
    return [*paragraphs, *map(plain, checks)]


def _impatient(target: int) -> bool:
    """Whether the search for a target is given up if it takes long."""
    return target % 10 in (1, 4, 7, 9)


def _given_up(ways: Sequence[tuple[str, ...]], first: int) -> int:
    """How many ways are tried before the search is given up: up to a change of the `first` signs, but not at once."""
    later = range(_PATIENCE, len(ways))
    return next((place for place in later if ways[place][:first] != ways[place - 1][:first]), len(ways))


def _searched(numbers: Sequence[int], order: Sequence[str], last: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The signs tried before the last one, up to `last`; where a value is out, no sign follows."""

    def below(signs: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if len(signs) == len(last) or _values(numbers, signs)[-1] is None:
            yield signs
        else:
            for sign in order:
                yield from below((*signs, sign))

    for signs in below(()):
        yield signs
        if signs == tuple(last):
            return


def _tried(numbers: Sequence[int], signs: Sequence[str], order: Sequence[str], target: int) -> Iterator[Piece]:
    """A paragraph: the way of all signs but the last, then each last sign, up to one that reaches the target."""
    yield f"{' '.join(signs)} : {_way(numbers[:-1], signs)}", 1.0
    before = _values(numbers[:-1], signs)[-1]
    if before is None:
        yield ".\n\n", 1.0
        return
    for number, sign in enumerate(order):
        value = _step(before, sign, numbers[-1])
        yield f"{', ' if number else '; '}{sign} {numbers[-1]} {_reached(value)}", 1.0
        if value is not None:
            yield f" / {target}", 1.0
            yield " yes" if value == target else " no", _VERDICT
        if value == target:
            yield ".", 1.0
            return
    yield ".\n\n", 1.0
