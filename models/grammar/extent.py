"""How many tokens the longest value of a JSON schema takes, by the schema alone.

It is an estimate: blanks between parts are counted once, as `json.dumps` writes them, and numbers without bounds have
the digits of usual ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from models.grammar.schemas import kinds_of, listed, mapping, meant

FREE_INTEGER, FREE_NUMBER = "-99999", "-9999.99"  # numbers without bounds
DATE = "2026-11-29"
MOST = 100_000  # tokens; more is not told apart
DEPTH = 32  # of schemas in one another
BESIDE = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated",
     "discriminator", "type"}
)  # fmt: skip  # keywords that bound no value, or are looked at by themselves


class SchemaExtent:
    """The size of a schema's longest value, in tokens as `count` counts those of a text."""

    def __init__(self, schema: Any, count: Callable[[str], int]) -> None:
        self._root = schema
        self._count = count
        self.computed = 0  # parts, each at a depth
        self._known: dict[tuple[int, int], int | None] = {}  # by a part's id, and how deep it may still be looked at

    @property
    def longest(self) -> int | None:
        """The tokens of the longest answer; None: the schema does not bound it."""
        most = self._most(self._root, DEPTH)
        return None if most is None or most >= MOST else most

    def _most(self, schema: Any, depth: int) -> int | None:
        if not isinstance(schema, dict) or depth == 0:
            return None
        key = (id(schema), depth)
        if key not in self._known:
            self.computed += 1
            self._known[key] = self._most_alone(schema, depth)
        return self._known[key]

    def _most_alone(self, schema: dict[str, Any], depth: int) -> int | None:
        texts = _texts(schema)
        if texts is not None:
            return max(map(self._count, texts), default=1)
        own = schema.keys() - BESIDE
        if own == {"$ref"}:
            return self._most(meant(self._root, schema["$ref"]), depth - 1)
        for name in ("anyOf", "oneOf", "allOf"):
            if own == {name} and (name != "allOf" or len(schema[name]) == 1):
                return _largest(self._most(each, depth - 1) for each in schema[name])
        kinds = kinds_of(schema)
        return _largest(self._most_of(kind, schema, depth - 1) for kind in kinds) if kinds else None

    def _most_of(self, kind: str, schema: dict[str, Any], depth: int) -> int | None:
        match kind:
            case "boolean" | "null":
                return 1
            case "integer" | "number":
                free = FREE_INTEGER if kind == "integer" else FREE_NUMBER
                bounds = [str(schema[name]) for name in _BOUNDS if name in schema]
                return max(map(self._count, bounds if len(bounds) > 1 and kind == "integer" else [free, *bounds]))
            case "string":
                if schema.get("format") == "date":
                    return 2 + self._count(DATE)
                return 2 + int(schema["maxLength"]) if "maxLength" in schema else None
            case "array":
                return self._most_of_list(schema, depth)
            case "object" if schema.get("additionalProperties") is False and "patternProperties" not in schema:
                properties = mapping(schema.get("properties"))
                return _total(2, ((self._key(name), self._most(each, depth)) for name, each in properties.items()))
        return None

    def _most_of_list(self, schema: dict[str, Any], depth: int) -> int | None:
        first = schema.get("prefixItems", ())
        most = schema.get("maxItems", len(first) if schema.get("items") is False else None)
        if most is None or most > MOST:
            return None
        beyond = max(0, int(most) - len(first))
        items = self._most(schema.get("items"), depth) if beyond else 0
        sizes = [(1, self._most(each, depth)) for each in first]
        return _total(2, [*sizes, (beyond, None if items is None else items * beyond)])

    def _key(self, name: str) -> int:
        return self._count(json.dumps(name, ensure_ascii=False) + ": ") + 1  # and a comma


_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def _texts(schema: dict[str, Any]) -> list[str] | None:
    """Returns the values that a schema lists, as JSON; None: it lists none."""
    values = listed(schema)
    return None if values is None else [json.dumps(each, ensure_ascii=False) for each in values]


def _largest(sizes: Iterator[int | None]) -> int | None:
    found = list(sizes)
    return None if None in found else max((size for size in found if size is not None), default=None)


def _total(start: int, parts: Any) -> int | None:
    total = start
    for before, size in parts:
        if size is None:
            return None
        total += before + size
    return total
