"""Counts what searches for the end of an answer cost, under large and hostile forms over a vocabulary of 151,936.

Each form is measured, then answers of random tokens are drawn in several rooms. Told are masks of the vocabulary: those
of the measuring, and of the worst step, which may have one of its own and LOOKS of its searches. Times are CPU times of
the process; the worst step's is also told as a multiple of the median of steps that search for nothing.
"""

from __future__ import annotations

import argparse
import statistics
import string
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from llguidance import LLMatcher

from benchmarks.support import report
from models.grammar.compiling import CompiledGrammar, Grammars
from models.grammar.grammar import Grammar, GrammarError, GrammarKind
from models.grammar.matching import LOOKS
from models.grammar.vocabulary import GrammarVocabulary
from models.token_masks import Mask

VOCABULARY = 151_936
SPARE = (0, 5, 60, 400)  # tokens of room beyond the shortest answer
UNKNOWN = 100  # tokens of room where no shortest answer is known
STEPS = 400  # of an answer, at most
KEYS = [f"k{number}" for number in range(300)]
PAIR = {"anyOf": [{"type": "string", "minLength": 9}, {"type": "array", "items": {"type": "number"}, "minItems": 3}]}
ITEM = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 3}, "on": {"type": "boolean"}},
    "required": ["name", "on"],
}
FORMS = {
    "items": Grammar.json_schema({"type": "array", "items": ITEM, "minItems": 1}, asked_by="items"),
    "300 keys": Grammar.json_schema(
        {"type": "object", "properties": dict.fromkeys(KEYS, PAIR), "required": KEYS}, asked_by="keys"
    ),
    "3,000 texts": Grammar.json_schema({"enum": [f"value number {one}" for one in range(3_000)]}, asked_by="texts"),
    "60,000 characters": Grammar.json_schema({"type": "string", "minLength": 60_000}, asked_by="characters"),
    "(a|b){0,5000}": Grammar(kind=GrammarKind.REGEX, text="(a|b){0,5000}"),
    "(a|b){4000,5000}": Grammar(kind=GrammarKind.REGEX, text="(a|b){4000,5000}"),
    "(a|b)*a(a|b){300}": Grammar(kind=GrammarKind.REGEX, text="(a|b)*a(a|b){300}"),
    "letters of all scripts": Grammar(kind=GrammarKind.REGEX, text=r"[\p{L}\p{N}]{1,4000}z"),
    "400 nested choices": Grammar(
        kind=GrammarKind.GRAMMAR,
        text="start: a0\n"
        + "\n".join(f'a{one}: ("x" | "y" | "w{one}") a{one + 1} | "q" a{one + 1} "r"' for one in range(400))
        + '\na400: "end"\n',
    ),
    "ambiguous sums": Grammar(
        kind=GrammarKind.GRAMMAR,
        text=f"start: {' '.join(['e', *(['/=/ e'] * 8)])}\n"
        'e: e "+" e | e "*" e | /[a-z]+/ | "(" e ")" | "[" e "]" | e "," e\n',
    ),
}


class MadeTokenizer:
    """A tokenizer of bytes and of random words."""

    def __init__(self, size: int, seed: int) -> None:
        """`size`: its tokens, of which the last ends a reply."""
        rng = np.random.default_rng(seed)
        letters = np.frombuffer(f'{string.ascii_lowercase * 3} 0123456789{{}}[]":,'.encode(), np.uint8)
        words = {bytes([byte]) for byte in range(256)} | {b'"}', b'"]', b'":', b'", "', b'": ', b", ", b"[]", b"{}"}
        while len(words) < size - 1:
            words.add(rng.choice(letters, int(rng.integers(2, 10))).tobytes())
        self.token_bytes = (*sorted(words), b"")
        self._by_bytes = {text: token for token, text in enumerate(self.token_bytes)}

    def encode(self, text: str) -> list[int]:
        """Returns the bytes of a text as tokens."""
        return [self._by_bytes[bytes([byte])] for byte in text.encode()]


class CountingVocabulary(GrammarVocabulary):
    """Counts the masks that are computed over it."""

    computed = 0

    def mask(self, matcher: LLMatcher) -> Mask:
        self.computed += 1
        return super().mask(matcher)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one form costs."""

    form: str
    shortest: int | None
    measured: int  # masks
    measured_ms: float
    worst: int  # masks of a step
    worst_ms: float
    of_plain: float  # the worst step's time over the median of those that search for nothing
    whole: int  # answers that came to their end within STEPS
    answers: int
    refused: str | None = None  # why the form, or going on with an answer, was refused; None: neither was


@dataclass(frozen=True, slots=True)
class _Step:
    masks: int
    ms: float


def cost(form: str, vocabulary: CountingVocabulary, seed: int) -> Cost:
    """Measures a form, and draws an answer in each room."""
    steps, ends = list[_Step](), list[bool]()
    shortest: int | None = None
    refused: str | None = None
    vocabulary.computed, began = 0, time.process_time()
    measured, measured_ms = 0, 0.0
    try:
        grammar = Grammars(lambda: vocabulary).compiled(FORMS[form])
        grammar.measure()
        shortest, measured, measured_ms = grammar.shortest, vocabulary.computed, (time.process_time() - began) * 1e3
        for spare in SPARE:
            ends.append(_drawn(grammar, vocabulary, (shortest or UNKNOWN) + spare, seed, steps))
    except GrammarError as error:
        refused = str(error)
    worst = max(steps, key=lambda step: step.ms, default=_Step(0, 0.0))
    plain = [step.ms for step in steps if step.masks == 1]
    return Cost(
        form=form,
        shortest=shortest,
        measured=measured,
        measured_ms=measured_ms,
        worst=max((step.masks for step in steps), default=0),
        worst_ms=worst.ms,
        of_plain=worst.ms / statistics.median(plain) if plain else 0.0,
        whole=sum(ends),
        answers=len(ends),
        refused=refused,
    )


def _drawn(grammar: CompiledGrammar, vocabulary: CountingVocabulary, room: int, seed: int, steps: list[_Step]) -> bool:
    """Draws an answer, and notes its steps; returns whether it may end where it does."""
    match, rng = grammar.begin(room), np.random.default_rng(seed)
    for _ in range(min(room, STEPS)):
        if match.complete:
            break
        vocabulary.computed, began = 0, time.process_time()
        mask = match.mask()
        steps.append(_Step(vocabulary.computed, (time.process_time() - began) * 1e3))
        allowed = vocabulary.tokens_of(mask)
        match.accept(allowed[int(len(allowed) * rng.random() ** int(rng.integers(1, 4)))])
    return match.whole


def lines(costs: Sequence[Cost]) -> Iterator[str]:
    """Yields a table."""
    yield "| form | shortest answer | measured | worst step | of a plain step | whole | refused |"
    yield "|---" * 7 + "|"
    for one in costs:
        yield (
            f"| `{one.form}` | {one.shortest or 'not known'} | {one.measured} masks, {one.measured_ms:.0f} ms | "
            f"{one.worst} masks, {one.worst_ms:.1f} ms | {one.of_plain:.0f} | {one.whole} of {one.answers} | "
            f"{one.refused or ''} |"
        )


def main() -> None:
    """Command line: run, print; fails if a step has more looks than it may."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.structured.searches", description=__doc__)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    ran = report.circumstances("benchmarks.structured.searches", options.seed)
    made: Any = MadeTokenizer(options.vocabulary, options.seed)  # what a vocabulary reads of a tokenizer
    vocabulary = CountingVocabulary(made, {options.vocabulary - 1})
    vocabulary.warm_up()
    costs = [cost(form, vocabulary, options.seed) for form in FORMS]
    print("\n".join(lines(costs)))
    if options.out is not None:
        report.write(options.out, ran, [asdict(one) for one in costs])
    if any(one.worst > 1 + LOOKS for one in costs):
        raise SystemExit(f"a step had more than {LOOKS} looks")


if __name__ == "__main__":
    main()
