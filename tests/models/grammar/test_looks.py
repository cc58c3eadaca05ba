"""However large a grammar is, a step of an answer looks at so many states and no more, and no cut answer is whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from llguidance import LLMatcher

from benchmarks.structured.searches import CountingVocabulary
from models.grammar import compiling, matching
from models.grammar.compiling import LOOKS_LONGEST, LOOKS_SHORTEST, CompiledGrammar, Grammars
from models.grammar.grammar import Grammar, GrammarKind
from models.grammar.matching import EARNED, LOOKS, TRIED, GrammarMatch
from models.grammar.shortest import Looks
from models.tokenizer import ChatTokenizer
from tests.support.grammar_walks import walk

ROOM = 150
KEYS = [f"k{number}" for number in range(300)]
PAIRS = {"anyOf": [{"type": "string", "minLength": 9}, {"type": "array", "items": {"type": "number"}, "minItems": 3}]}
HOSTILE = [
    Grammar(kind=GrammarKind.REGEX, text="(a|b){4000,5000}"),
    Grammar(kind=GrammarKind.REGEX, text="(a|b)*a(a|b){300}"),
    Grammar.json_schema(
        {"type": "object", "properties": dict.fromkeys(KEYS, PAIRS), "required": KEYS}, asked_by="json"
    ),
    Grammar.json_schema({"type": "string", "minLength": 60_000}, asked_by="json"),
    Grammar.json_schema({"enum": [f"value {number}" for number in range(2_000)]}, asked_by="json"),
]


@pytest.fixture(scope="module")
def counting(tokenizer: ChatTokenizer) -> CountingVocabulary:
    return CountingVocabulary(tokenizer, tokenizer.eos_ids)


def steps(grammar: CompiledGrammar, vocabulary: CountingVocabulary, room: int) -> Iterator[int]:
    """Yields the masks that each step of an answer takes, one for the answer itself among them."""
    match, rng = grammar.begin(room), np.random.default_rng(room)
    for _ in range(room):
        if match.complete:
            return
        vocabulary.computed = 0
        allowed = vocabulary.tokens_of(match.mask())
        match.mask()  # the same again
        yield vocabulary.computed
        match.accept(allowed[int(rng.integers(len(allowed)))])


@pytest.mark.parametrize("grammar", HOSTILE, ids=lambda grammar: grammar.text[:30])
def test_a_step_looks_at_a_bounded_number_of_states(counting: CountingVocabulary, grammar: Grammar) -> None:
    compiled = Grammars(lambda: counting).compiled(grammar)
    counting.computed = 0
    compiled.measure()
    assert counting.computed <= LOOKS_SHORTEST + LOOKS_LONGEST
    counts = list(steps(compiled, counting, ROOM))
    assert max(counts) <= 1 + LOOKS
    assert sum(counts) <= LOOKS + (1 + EARNED) * len(counts)


def test_where_no_look_is_left_the_last_known_way_stays_open(
    grammars: Grammars, tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "([ab]{2}c[0-9]{3}){2,9}"
    compiled = grammars.compiled(Grammar(kind=GrammarKind.REGEX, text=text))
    compiled.measure()
    monkeypatch.setattr(matching, "LOOKS", 0)
    assert compiled.shortest is not None
    for seed in range(60):
        room = compiled.shortest + seed
        answer = walk(compiled, tokenizer, room, np.random.default_rng(seed))
        assert answer.whole or answer.tokens == room
        assert answer.whole == (re.fullmatch(text, answer.text) is not None)
        assert answer.whole or room > compiled.shortest + compiled.rise  # the way was known, until there was much room


def test_without_a_known_way_an_answer_goes_on_freely_and_is_cut(
    tokenizer: ChatTokenizer, counting: CountingVocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "LOOKS_SHORTEST", 3)
    monkeypatch.setattr(matching, "LOOKS", 0)
    compiled = Grammars(lambda: counting).compiled(Grammar(kind=GrammarKind.REGEX, text="([a-z][0-9]){20}"))
    assert compiled.shortest is None
    answer = walk(compiled, tokenizer, 12, np.random.default_rng(0))
    assert (answer.tokens, answer.whole) == (12, False)
    assert walk(compiled, tokenizer, 40, np.random.default_rng(0)).whole


class CountingMatcher:
    """A matcher that counts the tokens which it and its copies validate."""

    def __init__(self, matcher: LLMatcher, validated: list[int]) -> None:
        self._matcher = matcher
        self._validated = validated
        self.trials = 0  # at this very one

    def __getattr__(self, name: str) -> Any:
        return getattr(self._matcher, name)

    def deep_copy(self) -> CountingMatcher:
        return CountingMatcher(self._matcher.deep_copy(), self._validated)

    def validate_tokens(self, tokens: list[int]) -> int:
        self.trials += 1
        self._validated.append(len(tokens))
        return self._matcher.validate_tokens(tokens)


@pytest.mark.parametrize(("items", "spare"), [(20, 30), (300, 30), (2_000, 30), (2_000, 0)])
def test_a_mask_near_the_end_validates_a_bounded_number_of_tokens(
    counting: CountingVocabulary, items: int, spare: int
) -> None:
    schema = {"type": "array", "items": {"type": "string"}, "minItems": items}
    compiled = Grammars(lambda: counting).compiled(Grammar.json_schema(schema, asked_by="json"))
    compiled.measure()
    way = compiled.way
    assert way is not None
    validated: list[int] = []
    matcher: Any = CountingMatcher(compiled.start(Looks(0))._matcher, validated)
    room = len(way) + spare
    match = GrammarMatch(compiled, matcher, room)
    for character in '["Her':
        match.accept(counting.fewest(character.encode())[0])
        validated.clear()
        counting.computed = 0
        mask = match.mask()
        assert sum(validated) <= TRIED + 8 * room
        assert counting.computed <= 1 + LOOKS
        if spare == 0 or match.whole:
            break
        open_ = counting.tokens_of(mask)
        assert len(open_) > 1
        assert validated
    assert matcher.trials == 0  # so that the answer outlives a trial's limits
