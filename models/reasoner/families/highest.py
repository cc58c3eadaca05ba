"""Who has the most points: each must be worked out, and how sure the best so far is depends on who is left."""

import numpy as np

from models.reasoner.families.draft import (
    CHECKS,
    NAMES,
    OPENERS,
    Draft,
    Paragraph,
    concluded,
    looks,
    pick,
    plain,
    some,
    still,
)

_CLOSE = 15  # points from the best within which the others are looked at again


def draw(rng: np.random.Generator, size: int) -> Draft:
    """Draw a question about `size` players, no two with the same points."""
    names, wanted = some(rng, NAMES, size), pick(rng, ("most", "fewest"))
    while True:
        sums = [(int(left), int(right)) for left, right in rng.integers(10, 100, size=(size, 2))]
        points = [sum(one) % 100 for one in sums]
        if len(set(points)) == size:
            break
    listed = ", ".join(f"{name} {left} + {right}" for name, (left, right) in zip(names, sums, strict=True))
    question = pick(
        rng,
        (
            f"The points of each are the last two digits of a sum: {listed}. Who has the {wanted} points?",
            f"Players and their sums: {listed}. Points are the last two digits of the sum. Who has the {wanted}?",
        ),
    )
    best = points.index(max(points) if wanted == "most" else min(points))
    return Draft(question=question, answer=names[best], write=lambda rng: _write(rng, names, sums, wanted))


def _worked(name: str, numbers: tuple[int, int]) -> str:
    total = sum(numbers)
    return f"{name} {numbers[0]} + {numbers[1]} = {total}, points {total % 100}"


def _write(rng: np.random.Generator, names: list[str], sums: list[tuple[int, int]], wanted: str) -> list[Paragraph]:
    """Two players a paragraph; a new best is looked at again."""
    paragraphs: list[Paragraph] = []
    best, points = 0, [sum(one) % 100 for one in sums]
    for start in range(0, len(names), 2):
        said, before = [], best
        for place in range(start, min(start + 2, len(names))):
            better = points[place] > points[best] if wanted == "most" else points[place] < points[best]
            best = place if better else best
            said.append(f"{_worked(names[place], sums[place])}, {wanted} {names[best]} {points[best]}.")
        opening = "" if paragraphs else f"{pick(rng, OPENERS)} "
        ends = start + 2 >= len(names)
        paragraphs.append(plain(f"{opening}{' '.join(said)}{' ' + concluded(names[best]) if ends else ''}"))
        if best != before:
            more = "more" if wanted == "most" else "less"
            check = f"{_worked(names[best], sums[best])}, {more} than {points[before]}."
            paragraphs.append(plain(f"Wait, look again: {check}{' ' + still(names[best]) if ends else ''}"))
    answer = names[best]
    check = f"{_worked(answer, sums[best])}, the {wanted}."
    paragraphs.append(plain(f"{pick(rng, CHECKS)} {check} {still(answer)}"))
    close = [place for place in range(len(names)) if 0 < abs(points[place] - points[best]) <= _CLOSE]
    close += [best] * looks(points[best])
    for number, place in enumerate(close, 1):
        paragraphs.append(plain(f"Check {number}: {_worked(names[place], sums[place])}. {still(answer)}"))
    return paragraphs
