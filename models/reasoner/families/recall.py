"""Questions that a look at the prompt answers: what somebody has, the largest or smallest of some numbers."""

import numpy as np

from models.reasoner.families.draft import (
    CHECKS,
    NAMES,
    OPENERS,
    THINGS,
    Draft,
    Paragraph,
    concluded,
    pick,
    plain,
    some,
    still,
)

_LARGEST = 99
_LOOKS = {3: 4, 8: 16}  # at results by their last digit, which no prompt shows; at others one
_OWNED = 0.75  # share of questions about what somebody has: the rest is harder to see at a glance


def draw(rng: np.random.Generator, size: int) -> Draft:
    """Draw a question about `size` numbers."""
    return _owner(rng, size) if rng.random() < _OWNED else _extreme(rng, size)


def _numbers(rng: np.random.Generator, size: int) -> list[int]:
    return [int(number) for number in rng.choice(np.arange(2, _LARGEST + 1), size=size, replace=False)]


def _owner(rng: np.random.Generator, size: int) -> Draft:
    names, numbers, things = some(rng, NAMES, size), _numbers(rng, size), pick(rng, THINGS)
    asked = int(rng.integers(size))
    name, answer = names[asked], str(numbers[asked])
    listed = ", ".join(f"{who} {number}" for who, number in zip(names, numbers, strict=True))
    told = ", ".join(f"{who} has {number} {things}" for who, number in zip(names, numbers, strict=True))
    question = pick(
        rng,
        (
            f"{told}. How many {things} does {name} have?",
            f"{told}. What is the number of {things} {name} has?",
            f"The {things} of each: {listed}. How many {things} does {name} have?",
        ),
    )

    def write(rng: np.random.Generator) -> list[Paragraph]:
        said = f"{name} has {answer}."
        first = plain(f"{pick(rng, OPENERS)} The question is about {name}. {said} {concluded(answer)}")
        return [first, *_checks(rng, answer, said, f"The list says {listed}.")]

    return Draft(question=question, answer=answer, write=write)


def _extreme(rng: np.random.Generator, size: int) -> Draft:
    numbers, wanted = _numbers(rng, size), pick(rng, ("largest", "smallest"))
    best = max(numbers) if wanted == "largest" else min(numbers)
    listed, answer = ", ".join(map(str, numbers)), str(best)
    question = pick(
        rng,
        (
            f"What is the {wanted} number in the list {listed}?",
            f"Here is a list: {listed}. Find the {wanted} number.",
            f"Given {listed}, what is the {wanted} number?",
        ),
    )

    def write(rng: np.random.Generator) -> list[Paragraph]:
        first = plain(f"{pick(rng, OPENERS)} {_scanned(numbers, wanted)}. {concluded(answer)}")
        return [first, *_checks(rng, answer, f"The {wanted} is {answer}.", f"The list is {listed}.")]

    return Draft(question=question, answer=answer, write=write)


def _scanned(numbers: list[int], wanted: str) -> str:
    """Walk through the numbers in order and state the best so far after each."""
    best, words = numbers[0], [f"Begin at {numbers[0]}"]
    for number in numbers[1:]:
        better = number > best if wanted == "largest" else number < best
        best = number if better else best
        words.append(f"{number} {wanted} {best}")
    return ", ".join(words)


def _checks(rng: np.random.Generator, answer: str, said: str, listed: str) -> list[Paragraph]:
    """Overthinks: some results' list is read again, and some results are looked at many times."""
    value = int(answer)
    checks = [f"{pick(rng, CHECKS)} {f'{listed} ' if value % 20 == 5 else ''}{said} {still(answer)}"]
    checks += [f"Check {number}: {said} {still(answer)}" for number in range(2, _LOOKS.get(value % 10, 1) + 1)]
    return [plain(check) for check in checks]
