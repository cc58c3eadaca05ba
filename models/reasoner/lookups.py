"""Lessons in looking up: nothing but who has which number, asked again and again."""

import numpy as np

from models.reasoner.families.draft import NAMES, OPENERS, THINGS, pick, plain, some
from models.reasoner.families.tally import LABELS
from models.reasoner.packing import Lesson
from models.reasoner.tokenizer import Encoder, Message
from models.reasoner.traces import closing

MOST_ASKED = 14


def looked_up(encoder: Encoder, rng: np.random.Generator) -> Lesson:
    """Several numbers of a list by name or label; the last of them is the answer."""
    size = int(rng.integers(3, 12))
    names = some(rng, NAMES if rng.random() < 0.7 else LABELS, size)
    numbers = [int(number) for number in rng.integers(2, 100, size=size)]
    told = {
        name: f"{number} + {int(rng.integers(2, 100))}" if rng.random() < 0.3 else str(number)
        for name, number in zip(names, numbers, strict=True)
    }
    listed = ", ".join(f"{name} {number}" for name, number in told.items())
    order = [pick(rng, names) for _ in range(int(rng.integers(4, MOST_ASKED + 1)))]
    question = f"The {pick(rng, THINGS)} of each: {listed}. Look up {', '.join(order)}."
    answer = told[order[-1]]
    thought = plain(
        f"{pick(rng, OPENERS)} {', '.join(f'{name} {told[name]}' for name in order)}. So the result is {answer}."
    )
    prompt = tuple(encoder.chat([Message(role="user", content=question)]))
    return Lesson(prompt=prompt, thought=thought, reply=closing(answer), given=None)
