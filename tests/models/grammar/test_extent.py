"""How long a schema's values may get decides whether a probe tries them."""

from __future__ import annotations

from typing import Any

import pytest

from models.grammar.extent import SchemaExtent

WHOLE = {"type": "object", "additionalProperties": False}
TREE = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}


def length(schema: Any) -> int | None:
    return SchemaExtent(schema, len).longest


@pytest.mark.parametrize(
    ("schema", "characters"),
    [
        ({"enum": ["a", "bcd", None]}, 5),
        ({"const": {"a": 1}}, 8),
        ({"type": "boolean"}, 1),
        ({"type": "integer", "minimum": -5, "maximum": 1000}, 4),
        ({"type": "string", "maxLength": 10}, 12),
        ({"type": ["null", "integer"], "maximum": 3}, 6),
        ({**WHOLE, "properties": {"a": {"enum": ["x", "yz"]}}, "required": ["a"]}, 12),
        ({"type": "array", "items": {"enum": [1, 22]}, "maxItems": 3}, 11),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 22}], "items": False}, 7),
        ({"anyOf": [{"const": 1}, {"const": 333}]}, 3),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"const": 22}}}, 2),
    ],
    ids=str,
)
def test_a_schema_that_bounds_its_values_tells_the_longest(schema: dict[str, Any], characters: int) -> None:
    assert length(schema) == characters


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": "string"},
        {"type": "string", "format": "email"},
        {"type": "object"},
        {**WHOLE, "properties": {"a": {"type": "string"}}},
        {"type": "array", "items": {"const": 1}},
        {"type": "array", "prefixItems": [{"const": 1}]},
        {"anyOf": [{"const": 1}, {"type": "string"}]},
        {"allOf": [{"type": "string"}, {"maxLength": 3}]},
        TREE,
    ],
    ids=str,
)
def test_a_schema_that_does_not_is_unbounded(schema: Any) -> None:
    assert length(schema) is None
