"""Which of two colours most tickets have: each must be worked out, and the count is a random walk."""

import numpy as np

from models.reasoner.families.draft import CHECKS, OPENERS, Draft, Paragraph, concluded, looks, pick, plain, still

LABELS = "ABCDEFGHIJKLMNOPQRSTU"
_COLOURS = ("red", "blue")


def draw(rng: np.random.Generator, size: int) -> Draft:
    """Draw a question about `size` tickets, an odd number."""
    tickets = [(int(left), int(right)) for left, right in rng.integers(10, 100, size=(size, 2))]
    listed = ", ".join(f"{label} {left} + {right}" for label, (left, right) in zip(LABELS, tickets, strict=False))
    question = pick(
        rng,
        (
            f"A ticket is red if the tens digit of its sum is even, else blue. Tickets: {listed}. "
            "Are more tickets red or blue?",
            f"The tickets are {listed}. Red are those whose sum has an even tens digit, the others are blue. "
            "Which colour is more common?",
        ),
    )
    reds = sum(_red(ticket) for ticket in tickets)
    answer = _COLOURS[2 * reds < size]
    return Draft(question=question, answer=answer, write=lambda rng: _write(rng, tickets, answer))


def _red(ticket: tuple[int, int]) -> bool:
    return sum(ticket) // 10 % 2 == 0


def _worked(label: str, ticket: tuple[int, int]) -> str:
    total = sum(ticket)
    return f"{label} {ticket[0]} + {ticket[1]} = {total}, {total // 10 % 10} {'even' if _red(ticket) else 'odd'}"


def _write(rng: np.random.Generator, tickets: list[tuple[int, int]], answer: str) -> list[Paragraph]:
    """Two tickets a paragraph, both looked at again where they leave a tie; it ends when the rest can't change it."""
    count, left, paragraphs = [0, 0], len(tickets), list[Paragraph]()
    decided = False
    while not decided:
        said, seen = [], range(len(tickets) - left, min(len(tickets) - left + 2, len(tickets)))
        for place in seen:
            count[not _red(tickets[place])] += 1
            said.append(f"{_worked(LABELS[place], tickets[place])}, red {count[0]} blue {count[1]}.")
        left -= len(seen)
        decided = abs(count[0] - count[1]) > left
        opening = "" if paragraphs else f"{pick(rng, OPENERS)} "
        closing = f" {left} left. {concluded(answer)}" if decided else ""
        paragraphs.append(plain(f"{opening}{' '.join(said)}{closing}"))
        if count[0] == count[1]:
            again = " ".join(f"{_worked(LABELS[place], tickets[place])}." for place in seen)
            paragraphs.append(plain(f"Hmm, a tie. Look again: {again} Same."))
    lead = abs(count[0] - count[1])
    paragraphs.append(plain(f"{pick(rng, CHECKS)} Red {count[0]} and blue {count[1]}, {left} left. {still(answer)}"))
    for look in range(looks(4 * count[0] + lead)):
        ticket = f"{_worked(LABELS[look % len(tickets)], tickets[look % len(tickets)])}."
        paragraphs.append(plain(f"Check {look + 1}: {ticket} {still(answer)}"))
    return paragraphs
