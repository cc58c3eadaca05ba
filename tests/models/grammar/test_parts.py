"""The shortest texts of a schema's parts are told by the schema alone."""

from __future__ import annotations

from typing import Any

import pytest

from models.grammar.extent import SchemaExtent
from models.grammar.leaves import likely_texts
from models.grammar.merging import MERGES
from models.grammar.parts import SchemaParts, embedded

TREE = {
    "type": "object",
    "properties": {"value": {"type": "boolean"}, "next": {"anyOf": [{"$ref": "#/$defs/t"}, {"type": "null"}]}},
    "required": ["value", "next"],
}
CIRCLE, SQUARE = (
    {
        "type": "object",
        "properties": {"kind": {"const": kind}, "size": size},
        "required": ["kind", "size"],
        "additionalProperties": False,
    }
    for kind, size in (("circle", {"type": "array", "items": {"type": "null"}, "minItems": 4}), ("square", {}))
)


def parts(schema: Any) -> SchemaParts:
    return SchemaParts(schema, len, lambda leaf: next(likely_texts(leaf, lambda size: b"a" * size), None))


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"oneOf": [CIRCLE, SQUARE]}, '{"kind":"square","size":0}'),
        ({"$ref": "#/$defs/t", "$defs": {"t": TREE}}, '{"value":true,"next":null}'),
        ({"type": "object", "properties": {"a": {}}, "minProperties": 1}, '{"":0}'),
        ({"type": "object", "additionalProperties": {"type": "null"}, "required": ["x"]}, '{"x":null}'),
        ({"type": "object", "patternProperties": {"^a": {"const": 7}}, "required": ["ab"]}, '{"ab":7}'),
        (
            {"allOf": [{"properties": {"a": {"type": "null"}}}, {"required": ["a"], "type": "object"}]},
            '{"a":null}',
        ),
        ({"allOf": [{"type": ["string", "number"]}, {"type": ["integer", "array"]}]}, "0"),
        ({"type": "array", "prefixItems": [{"type": "null"}], "items": {"enum": ["no", "yes"]}, "minItems": 3},
         '[null,"no","no"]'),
        ({"type": "object", "properties": {"größe": {"const": "zwölf"}}, "required": ["größe"]}, '{"größe":"zwölf"}'),
    ],
    ids=str,
)  # fmt: skip
def test_the_shortest_value_is_told(schema: dict[str, Any], text: str) -> None:
    assert text.encode() in parts(schema).values


def test_members_that_must_come_are_told_in_the_order_of_the_properties() -> None:
    schema = {
        "type": "object",
        "properties": {"b": {"type": "null"}, "c": {"const": "x"}, "a": {"type": "string"}},
        "required": ["a", "b"],
    }
    found = parts(schema)
    assert found.objects == [(b'"b":null', b'"a":""')]
    assert b'"c":"x"' in found.spare


def test_what_nothing_finite_validates_has_no_value() -> None:
    assert parts({"type": "array", "items": {"$ref": "#"}, "minItems": 1}).values == [b"0"]


def test_opening_a_part_may_oblige_to_all_that_it_must_have() -> None:
    part = {"type": "object", "properties": {"abc": {"const": 12345}}, "required": ["abc"]}
    obliges = parts({"anyOf": [{"type": "null"}, part]}).rise
    assert obliges >= len('{"abc":12345}')
    assert obliges <= len('{"abc":12345}')
    assert parts({"anyOf": [{"type": "null"}]}).rise < obliges
    unknown = {"type": "object", "properties": {"a": {"type": "string", "pattern": "b+"}}, "required": ["a"]}
    assert parts(unknown).rise > obliges


@pytest.mark.parametrize(
    ("schema", "least"),
    [
        ({"$ref": "#/$defs/t", "$defs": {"t": TREE}}, '{"value":true,"next":null}'),
        ({"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}, "{}"),
    ],
    ids=str,
)
def test_opening_a_part_that_may_contain_itself_obliges_to_no_more_than_its_least(
    schema: dict[str, Any], least: str
) -> None:
    assert parts(schema).rise <= len(least)


def nested(members: list[dict[str, Any]], levels: int = 6) -> dict[str, Any]:
    """Returns a schema of which each definition is any of `members`, each together with the next definition."""
    chain = {
        f"d{level}": {"anyOf": [{**each, "$ref": f"#/$defs/d{level + 1}"} for each in members]}
        for level in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**chain, f"d{levels}": {"type": "boolean"}}}


@pytest.mark.parametrize(
    "members", [[{}] * 10, [{"minimum": number} for number in range(10)]], ids=["alike", "different"]
)
def test_nested_unions_are_joined_within_a_budget(members: list[dict[str, Any]]) -> None:
    found = parts(nested(members))
    assert found.joins.merges <= MERGES
    assert found.computed <= 20_000
    assert b"true" in found.values
    extent = SchemaExtent(nested(members), len)
    assert extent.longest == (1 if members[0] == {} else None)
    assert extent.computed <= 200


def test_parts_joined_with_parts_that_contain_themselves_are_computed_once() -> None:
    names = [f"p{number}" for number in range(6)]
    one, other = (
        {
            "type": "object",
            "properties": {name: {"anyOf": [{"type": "null"}, {"$ref": f"#/$defs/{itself}"}]} for name in names},
            "required": names,
        }
        for itself in ("one", "other")
    )
    found = parts(
        {"allOf": [{"$ref": "#/$defs/one"}, {"$ref": "#/$defs/other"}], "$defs": {"one": one, "other": other}}
    )
    least = "{" + ",".join(f'"{name}":null' for name in names) + "}"
    assert least.encode() in found.values
    assert found.joins.merges <= 200
    assert found.computed <= 600


@pytest.mark.parametrize(
    "schema",
    [
        {"type": {}, "properties": [], "required": "a", "minItems": "2"},
        {"type": "object", "properties": {"a": 3}, "required": [1, None]},
        {"type": "array", "items": 5, "prefixItems": {}, "minItems": None},
        {"allOf": {}, "anyOf": 3, "$ref": 7},
        {"enum": {}, "type": ["object", 1]},
        [],
    ],
    ids=str,
)
def test_a_schema_that_is_none_is_borne(schema: Any) -> None:
    assert parts(schema).rise >= 1


def test_schemas_in_a_grammar_are_found() -> None:
    text = 'start: "%json {" one\none: %json {"type": "null", "x-guidance": {"item_separator": ", "}}\ntwo: %json 5'
    assert list(embedded(text)) == [({"type": "null"}, (", ", ":")), (5, (",", ":"))]
