"""From any place in JSON a way to its end is known within few looks."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from models.grammar.compiling import CompiledGrammar, Grammars
from models.grammar.grammar import Grammar, GrammarKind
from models.grammar.shortest import Looks, quick_way

NEEDY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "note": {"type": "string"},
        "on": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "by": {"type": "string", "format": "email"},
        "id": {"type": "string", "format": "uuid"},
        "code": {"type": "string", "pattern": "^[A-Z][0-9]{3}$"},
        "count": {"type": "integer", "multipleOf": 66},
        "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "list": {"type": "array", "items": {"type": "string", "minLength": 9}, "minItems": 2},
        "end": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"a": {}}, "required": ["a"]}]},
    },
    "required": ["on", "at", "by", "id", "code", "count", "share", "list", "end"],
    "additionalProperties": False,
}
WHOLE = (
    '{"note":"~","on":"2027-12-30","at":"2027-12-30T11:12:13.456+01:00","by":"Her$Her@Her","id":'
    '"12345678-1234-1234-1234-1234567890ab","code":"A123","count":7722,"share":0.375,"list":["abcdefghi","ab'
    'cdefghi"],"end":{"a":[{"b":"c"}]}}'
)


LOOKS = 5  # of a search from any place; the quotation mark behind a key is a token with and without its colon
FEW = 8  # of a search within a number or a text of some form
MOST = 400  # tokens of a way


def rest(compiled: CompiledGrammar, text: str, looks: int = LOOKS) -> str | None:
    """Returns what a search within so many looks finds behind a text; None: it finds nothing."""
    vocabulary = compiled.vocabulary
    tokens = [token for byte in text.encode() for token in vocabulary.fewest(bytes([byte]))]
    way = quick_way(compiled.start(Looks(looks)).behind(*tokens), vocabulary.signposts, MOST)
    return None if way is None else b"".join(vocabulary.tokens[token] for token in way).decode()


def test_behind_any_character_the_rest_is_known_within_few_looks(grammars: Grammars) -> None:
    compiled = grammars.compiled(Grammar.json_schema(NEEDY, asked_by="json"))
    for length in range(1, len(WHOLE) + 1):
        found = rest(compiled, WHOLE[:length])
        assert found is not None, WHOLE[:length]
        jsonschema.validate(json.loads(WHOLE[:length] + found), NEEDY)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "multipleOf": 6}, "7777777"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "0.3000"),
        ({"type": "string", "format": "email"}, '"' + "Her" * 30 + "$" + "Her" * 30),
        ({"type": "string", "format": "time"}, '"18:13:26.66871962-1'),
        ({"type": "object", "additionalProperties": {"type": "null"}}, '{"a'),
        ({"type": "object"}, '{"a":[{"b":"\\u0'),
        ({"type": "array", "items": {"type": "integer", "minimum": 20}, "minItems": 3}, "[21,"),
        ({"type": "string", "minLength": 40}, '"' + "~" * 7),
    ],
    ids=str,
)
def test_what_is_half_written_is_written_to_its_end(grammars: Grammars, schema: dict[str, Any], text: str) -> None:
    compiled = grammars.compiled(Grammar.json_schema(schema, asked_by="json"))
    found = rest(compiled, text, FEW)
    assert found is not None
    jsonschema.validate(json.loads(text + found), schema)


def test_json_within_a_grammar_has_pieces(grammars: Grammars) -> None:
    held = {**NEEDY, "x-guidance": {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}}
    text = f'start: "call: " call | /[a-z ]+/\ncall: %json {json.dumps(held)}'
    compiled = grammars.compiled(Grammar(kind=GrammarKind.GRAMMAR, text=text))
    begun = 'call: {"on": "2027-1'
    found = rest(compiled, begun)
    assert found is not None
    jsonschema.validate(json.loads((begun + found).removeprefix("call: ")), NEEDY)


def test_a_free_text_before_its_marker_is_no_json(grammars: Grammars) -> None:
    text = r'start: "<" /(.|\n)*/ one' + f"\none: %json {json.dumps(NEEDY)}"
    compiled = grammars.compiled(Grammar(kind=GrammarKind.GRAMMAR, text=text))
    assert compiled.pieces.next(compiled.start(Looks(0)).behind(*compiled.vocabulary.fewest(b"<no "))) is None
