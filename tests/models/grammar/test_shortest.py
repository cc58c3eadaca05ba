"""The shortest way to a whole answer is as short as it can be where that is known, and always leads to one."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import numpy as np
import pytest

from models.grammar.compiling import Grammars
from models.grammar.grammar import Grammar, GrammarKind
from models.tokenizer import ChatTokenizer
from tests.support.grammar_walks import walk

ANSWER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
DATED = {"type": "object", "properties": {"on": {"type": "string", "format": "date"}}, "required": ["on"]}
PLAIN = {"type": "object", "properties": {"kind": {"const": "plain"}, "size": ANSWER}, "required": ["kind", "size"]}
FORMED: dict[str, Any] = {
    "type": "object",
    "properties": {
        name: {"type": "string", "format": name} for name in ("email", "date-time", "duration", "uuid", "time", "ipv4")
    },
}
NEEDY: dict[str, Any] = {**FORMED, "required": list(FORMED["properties"])}
KINDS = {
    "type": "object",
    "properties": {"kind": {"const": "formed"}, "size": {**NEEDY, "properties": {"also": {}, **FORMED["properties"]}}},
    "required": ["kind", "size"],
}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (ANSWER, '{"n":0}'),
        ({"type": "object"}, "{}"),
        ({"type": "array", "minItems": 2, "items": {"type": "boolean"}}, "[true,true]"),
        ({"enum": ["a long text that is longer", "no"]}, '"no"'),
        ({"anyOf": [ANSWER, {"type": "null"}]}, "null"),
        ({"anyOf": [NEEDY, {"type": "array", "items": NEEDY}]}, "[]"),
        ({"oneOf": [KINDS, PLAIN]}, '{"kind":"plain","size":{"n":0}}'),
        ({"type": "object", "properties": {"on": FORMED, "size": ANSWER}, "required": ["size"]}, '{"size":{"n":0}}'),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "0.5"),
        (DATED, '{"on":"0000-01-01"}'),
        ({"$ref": "#/$defs/t", "$defs": {"t": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/t"}}]}}}, "[]"),
    ],
    ids=str,
)
def test_the_shortest_value_of_a_schema_is_found(
    grammars: Grammars, tokenizer: ChatTokenizer, schema: dict[str, Any], text: str
) -> None:
    compiled = grammars.compiled(Grammar.json_schema(schema, asked_by="json"))
    assert compiled.shortest is not None
    assert compiled.shortest <= len(tokenizer.encode(text))
    json.loads(walk(compiled, tokenizer, compiled.shortest, np.random.default_rng(0)).text)


def test_many_texts_that_must_have_some_form_have_a_shortest_answer(
    grammars: Grammars, tokenizer: ChatTokenizer
) -> None:
    formed = {"type": "array", "items": NEEDY, "minItems": 2}
    compiled = grammars.compiled(Grammar.json_schema(formed, asked_by="json"))
    assert compiled.shortest is not None
    for spare in range(4):
        answer = walk(compiled, tokenizer, compiled.shortest + spare, np.random.default_rng(spare))
        jsonschema.validate(json.loads(answer.text), formed)


def test_a_long_text_that_must_come_takes_long_tokens(grammars: Grammars, tokenizer: ChatTokenizer) -> None:
    compiled = grammars.compiled(Grammar.json_schema({"type": "string", "minLength": 60}, asked_by="json"))
    longest = max(len(text) for text in tokenizer.token_bytes if text.isalnum())
    assert compiled.shortest is not None
    assert compiled.shortest <= 2 + -(-60 // longest)


@pytest.mark.parametrize("pattern", ["[0-9]{4}-[0-9]{2}", "(ab|c)+d?", "a|b.{30}", "[^@ ]+@[a-z]+[.]de"])
def test_a_regular_expression_is_brought_to_an_end(grammars: Grammars, tokenizer: ChatTokenizer, pattern: str) -> None:
    compiled = grammars.compiled(Grammar(kind=GrammarKind.REGEX, text=pattern))
    assert compiled.shortest is not None
    for seed in range(4):
        text = walk(compiled, tokenizer, compiled.shortest + seed, np.random.default_rng(seed)).text
        assert re.fullmatch(pattern, text)


def test_a_choice_takes_its_shortest_text(grammars: Grammars, tokenizer: ChatTokenizer) -> None:
    texts = ["perhaps so", "12345", "no way"]
    compiled = grammars.compiled(Grammar.choice(texts, asked_by="choice"))
    assert compiled.shortest == min(len(tokenizer.encode(text)) for text in texts)
    assert compiled.longest == max(len(tokenizer.encode(text)) for text in texts)
