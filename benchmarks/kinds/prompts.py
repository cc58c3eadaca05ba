"""Prompts of all kinds of answers, drawn from templates, the bundled model's questions among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.kinds.grammar import fill, pools, templates
from models.kinds.kind import AnswerKind
from models.kinds.said import Words
from models.reasoner.tasks import FAMILIES, generate

BUNDLED = "bundled"  # template of the bundled model's questions
LEAD_INS = ("", "", "", "", "Hi, ", "Please help: ", "Quick question: ", "One more thing. ", "hey ", "I wonder: ")
SPOKEN = 0.25  # share of prompts that are typed carelessly: small letters, no mark at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPrompt:
    """A prompt whose kind of answer is known."""

    said: Words
    kind: AnswerKind
    template: str


def bundled(count: int, rng: np.random.Generator, *, from_held_out: bool = False) -> Iterator[KnownPrompt]:
    """Yields questions of the bundled model's families, in turn."""
    for number in range(count):
        asked = generate(FAMILIES[number % len(FAMILIES)], rng, from_held_out=from_held_out).question
        yield KnownPrompt(said=Words(asked=asked), kind=AnswerKind.SHORT, template=BUNDLED)


def drawn(kind: AnswerKind, count: int, rng: np.random.Generator) -> Iterator[KnownPrompt]:
    """Yields prompts of one kind in plain language; each template is as likely."""
    known, slots = templates(kind), pools()
    for _ in range(count):
        template = known[int(rng.integers(len(known)))]
        asked = LEAD_INS[int(rng.integers(len(LEAD_INS)))] + fill(template, slots, rng)
        if rng.random() < SPOKEN:
            asked = asked.lower().rstrip(".?!")
        yield KnownPrompt(said=Words(asked=asked), kind=kind, template=template)


def agents(count: int, rng: np.random.Generator) -> Iterator[KnownPrompt]:
    """Yields agents' turns: a system's message about tools or formats, and a task of any kind."""
    kinds, systems, slots = tuple(AnswerKind), templates("systems"), pools()
    for _ in range(count):
        system = systems[int(rng.integers(len(systems)))]
        (task,) = drawn(kinds[int(rng.integers(len(kinds)))], 1, rng)
        said = Words(asked=task.said.asked, system=fill(system, slots, rng))
        yield KnownPrompt(said=said, kind=AnswerKind.STRUCTURED, template=system)
