"""A JSON schema's part without references and unions: each of the schemas of which a value validates one."""

from __future__ import annotations

from typing import Any, TypeAlias

from models.grammar.extent import BESIDE
from models.grammar.schemas import meant

Schema: TypeAlias = dict[str, Any]

DEEP = 12  # references and unions in one another
MOST = 64  # schemas that one part becomes
JOINS = frozenset({"$ref", "allOf", "anyOf", "oneOf", "$defs", "definitions"})


def alternatives(root: Any, schema: Any, depth: int = DEEP) -> list[Schema]:
    """Returns what a part of the schema `root` may be. Keywords that cannot be joined stand in `allOf`."""
    if schema is True:
        return [{}]
    if not isinstance(schema, dict) or depth == 0:
        return []
    found: list[Schema] = [{name: value for name, value in schema.items() if name not in JOINS}]
    joined = [alternatives(root, meant(root, schema["$ref"]), depth - 1)] if "$ref" in schema else []
    joined += [alternatives(root, each, depth - 1) for each in _listed(schema.get("allOf"))]
    for name in ("anyOf", "oneOf"):
        if name in schema:
            joined.append([one for each in _listed(schema[name]) for one in alternatives(root, each, depth - 1)])
    for others in joined:
        found = [_merged(one, other) for one in found for other in others][:MOST]
    return found


def kinds_of(schema: Schema) -> frozenset[str]:
    """Returns the kinds of values that a schema names."""
    kinds = schema.get("type")
    return frozenset(kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if isinstance(kind, str))


def mapping(value: Any) -> Schema:
    """Returns a value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _merged(one: Schema, other: Schema) -> Schema:
    merged = dict(one)
    for name, value in other.items():
        if name == "type" and name in merged:
            merged[name] = sorted(_wide(one) & _wide(other))
        elif name not in merged or name in BESIDE:
            merged[name] = value
        elif name == "properties":
            merged[name] = _joint(mapping(merged[name]), mapping(value))
        elif name == "required":
            merged[name] = [*_listed(merged[name]), *_listed(value)]
        elif merged[name] != value:
            merged["allOf"] = [*merged.get("allOf", ()), {name: value}]
    return merged


def _wide(schema: Schema) -> frozenset[str]:
    kinds = kinds_of(schema)
    return kinds | {"integer"} if "number" in kinds else kinds


def _joint(one: Schema, other: Schema) -> Schema:
    shared = {name: {"allOf": [one[name], other[name]]} for name in one.keys() & other.keys()}
    return {**one, **other, **shared}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
