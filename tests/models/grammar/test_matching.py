"""Whatever a model draws under a grammar is a whole answer within its room, if the shortest one fits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.grammar.compiling import CompiledGrammar, Grammars
from models.grammar.grammar import Grammar, GrammarError, GrammarKind
from models.grammar.vocabulary import GrammarVocabulary
from models.tokenizer import ChatTokenizer
from tests.support.grammar_walks import walk

ITEM: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 3}, "price": {"type": "number"}, "on": {"type": "boolean"}},
    "required": ["name", "on"],
    "additionalProperties": False,
}
ITEMS: dict[str, Any] = {"type": "array", "items": ITEM, "minItems": 1}


class DigitTokenizer:
    """A tokenizer with a token for each number below 1,000."""

    def __init__(self) -> None:
        others = {bytes([byte]) for byte in range(256)} | {b"%03d" % one for one in range(1_000)}
        self.token_bytes = (*sorted({b"%d" % one for one in range(1_000)} | others), b"")

    def encode(self, text: str) -> list[int]:
        """Returns the bytes of a text as tokens."""
        return [self.token_bytes.index(bytes([byte])) for byte in text.encode()]


@pytest.fixture(scope="module")
def items(grammars: Grammars) -> CompiledGrammar:
    return grammars.compiled(Grammar.json_schema(ITEMS, asked_by="response_format"))


@settings(max_examples=40, deadline=None)
@given(spare=st.integers(0, 120), seed=st.integers(0, 2**32))
def test_an_answer_is_whole_in_any_room_that_the_shortest_fits_into(
    items: CompiledGrammar, tokenizer: ChatTokenizer, spare: int, seed: int
) -> None:
    assert items.shortest is not None
    answer = walk(items, tokenizer, items.shortest + spare, np.random.default_rng(seed))
    assert answer.whole
    for item in json.loads(answer.text):
        assert len(item["name"]) >= 3
        assert isinstance(item["on"], bool)
        assert set(item) <= {"name", "price", "on"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number"},
        {"type": "array", "items": {"type": "number"}, "minItems": 2},
        {"type": "string", "format": "duration"},
    ],
    ids=str,
)
def test_no_token_stays_open_that_needs_another_behind_it(
    grammars: Grammars, tokenizer: ChatTokenizer, schema: dict[str, Any]
) -> None:
    compiled = grammars.compiled(Grammar.json_schema(schema, asked_by="json"))
    assert compiled.shortest is not None
    for seed in range(60):
        room = compiled.shortest + 2 + seed % 6
        answer = walk(compiled, tokenizer, room, np.random.default_rng(seed))
        assert answer.whole, answer.text


def test_among_a_thousand_numbers_an_exponent_s_sign_is_found_out() -> None:
    made: Any = DigitTokenizer()
    vocabulary = GrammarVocabulary(made, {len(made.token_bytes) - 1})
    number = Grammars(lambda: vocabulary).compiled(Grammar.json_schema({"type": "number"}, asked_by="json"))
    match = number.begin(3)
    match.take(vocabulary.fewest(b"39"))
    allowed = [vocabulary.tokens[token] for token in vocabulary.tokens_of(match.mask())]
    assert b"E" not in allowed
    assert {b"%d" % one for one in range(1_000)} <= set(allowed)


def test_near_the_end_all_that_fits_stays_open(items: CompiledGrammar, tokenizer: ChatTokenizer) -> None:
    begun = tokenizer.encode('[{"name":"abc')
    (end,) = tokenizer.encode('"')
    wide, tight = (items.begin(len(begun) + room) for room in (400, 48))
    for match in (wide, tight):
        match.take(begun)
    plain = items.vocabulary.plain_bits
    assert ((tight.mask() & plain) == (wide.mask() & plain)).all()
    assert end in items.vocabulary.tokens_of(tight.mask())


def test_an_answer_that_has_no_room_is_cut(items: CompiledGrammar, tokenizer: ChatTokenizer) -> None:
    assert items.shortest is not None
    answer = walk(items, tokenizer, items.shortest - 1, np.random.default_rng(0))
    assert answer.tokens == items.shortest - 1
    assert not answer.whole


def test_a_copy_goes_on_by_itself(items: CompiledGrammar, tokenizer: ChatTokenizer) -> None:
    match = items.begin(100)
    (bracket, *_) = tokenizer.encode("[")
    match.accept(bracket)
    before, copy = match.mask().copy(), match.copy()
    for _ in range(40):
        copy.accept(items.vocabulary.tokens_of(copy.mask())[0])
        if copy.complete:
            break
    assert (match.mask() == before).all()
    assert not match.complete


def test_the_end_may_come_only_where_the_text_is_whole(items: CompiledGrammar, tokenizer: ChatTokenizer) -> None:
    match, ends = items.begin(100), items.vocabulary.end_bits
    for token in tokenizer.encode('[{"name":"abc","on":true}]'):
        assert not (match.mask() & ends).any()
        assert not match.whole
        match.accept(token)
    assert match.whole
    assert match.complete
    assert (match.mask() == ends).all()


def test_a_token_that_is_not_allowed_is_refused(items: CompiledGrammar, tokenizer: ChatTokenizer) -> None:
    with pytest.raises(GrammarError, match=r"^token \d+ is not allowed here"):
        items.begin(100).take(tokenizer.encode("no"))


def test_an_answer_is_not_empty_if_the_grammar_has_others(grammars: Grammars, tokenizer: ChatTokenizer) -> None:
    match = grammars.compiled(Grammar(kind=GrammarKind.REGEX, text="a*")).begin(10)
    assert match.whole
    assert not (match.mask() & grammars.vocabulary.end_bits).any()
    match.take(tokenizer.encode("a"))
    assert (match.mask() & grammars.vocabulary.end_bits).any()
    nothing = grammars.compiled(Grammar(kind=GrammarKind.REGEX, text="")).begin(10)
    assert (nothing.mask() & grammars.vocabulary.end_bits).any()


def test_blanks_between_parts_of_json_come_once_or_never(grammars: Grammars, tokenizer: ChatTokenizer) -> None:
    loose = grammars.compiled(Grammar.json_schema(ITEM, asked_by="json"))
    loose.begin(100).take(tokenizer.encode('{ "name":'))
    with pytest.raises(GrammarError):
        loose.begin(100).take(tokenizer.encode('{                                    "name":'))
    compact = grammars.compiled(Grammar.json_schema(ITEM, asked_by="json", compact=True))
    with pytest.raises(GrammarError):
        compact.begin(100).take(tokenizer.encode('{ "name":'))
