"""How many tokens the values of a JSON schema take, by the schema alone: the least of each part, and the most of all.

Both are estimates: blanks between parts are counted once, as `json.dumps` writes them, and numbers without bounds have
the digits of usual ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from models.grammar.schemas import schemas

FREE_INTEGER, FREE_NUMBER = "-99999", "-9999.99"  # numbers without bounds
DATE, LONG_FORMAT = "2026-11-29", 36  # a date; tokens of any other format's text
MOST = 100_000  # tokens; more is not told apart
DEPTH = 32  # of schemas in one another
BESIDE = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated",
     "discriminator", "type"}
)  # fmt: skip  # keywords that bound no value, or are looked at by themselves


class SchemaExtent:
    """The sizes of a schema's values, in tokens as `count` counts those of a text."""

    def __init__(self, schema: Any, count: Callable[[str], int]) -> None:
        self._root = schema
        self._count = count
        self._known: dict[int, int] = {}  # the least of each part, by its object's id

    @property
    def rise(self) -> int:
        """The most tokens that opening one value, of the whole or of a part, may oblige to."""
        return max((self._least(part, DEPTH) for _, part in schemas(self._root)), default=1)

    @property
    def longest(self) -> int | None:
        """The tokens of the longest answer; None: the schema does not bound it."""
        most = self._most(self._root, DEPTH)
        return None if most is None or most >= MOST else most

    # --- the least

    def _least(self, schema: Any, depth: int) -> int:
        if not isinstance(schema, dict) or depth == 0:
            return 1
        known = self._known.get(id(schema))
        if known is None:
            self._known[id(schema)] = 1  # of a schema inside itself
            known = self._known[id(schema)] = min(MOST, self._new_least(schema, depth - 1))
        return known

    def _new_least(self, schema: dict[str, Any], depth: int) -> int:
        texts = _texts(schema)
        if texts is not None:
            return min(map(self._count, texts), default=1)
        parts = [self._least(self._meant(schema["$ref"]), depth)] if "$ref" in schema else []
        parts += [self._least(each, depth) for each in schema.get("allOf", ())]
        for name in ("anyOf", "oneOf"):
            if schema.get(name):
                parts.append(min(self._least(each, depth) for each in schema[name]))
        return max(sum(parts), self._least_itself(schema, depth))

    def _least_itself(self, schema: dict[str, Any], depth: int) -> int:
        kinds = _kinds(schema)
        if "object" in kinds or (not kinds and "properties" in schema):
            properties = _object(schema.get("properties"))
            required = [str(name) for name in schema.get("required", ())]
            return 2 + sum(self._key(name) + self._least(properties.get(name), depth) for name in required)
        if "array" in kinds or (not kinds and "items" in schema):
            first = schema.get("prefixItems", ())
            least = int(schema.get("minItems", 0))
            sizes = [self._least(each, depth) + 1 for each in first[:least]]
            return 2 + sum(sizes) + max(0, least - len(sizes)) * (self._least(schema.get("items"), depth) + 1)
        if kinds & {"integer", "number"}:
            return max((self._count(str(schema[name])) for name in _BOUNDS if name in schema), default=1)
        if "string" in kinds:
            return LONG_FORMAT if "format" in schema or "pattern" in schema else 2 + int(schema.get("minLength", 0))
        return 1

    # --- the most

    def _most(self, schema: Any, depth: int) -> int | None:
        if not isinstance(schema, dict) or depth == 0:
            return None
        texts = _texts(schema)
        if texts is not None:
            return max(map(self._count, texts), default=1)
        own = schema.keys() - BESIDE
        if own == {"$ref"}:
            return self._most(self._meant(schema["$ref"]), depth - 1)
        for name in ("anyOf", "oneOf", "allOf"):
            if own == {name} and (name != "allOf" or len(schema[name]) == 1):
                return _largest(self._most(each, depth - 1) for each in schema[name])
        kinds = _kinds(schema)
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
                properties = _object(schema.get("properties"))
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

    def _meant(self, reference: Any) -> Any:
        """Returns the part of the schema that a reference names; None: it names none here."""
        part = self._root
        for step in str(reference).removeprefix("#").split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            part = part.get(step) if isinstance(part, dict) else None
        return part if str(reference).startswith("#") else None


_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def _texts(schema: dict[str, Any]) -> list[str] | None:
    """Returns the values that a schema lists, as JSON; None: it lists none."""
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    return [json.dumps(each, ensure_ascii=False) for each in listed] if isinstance(listed, list) else None


def _kinds(schema: dict[str, Any]) -> frozenset[str]:
    kinds = schema.get("type", ())
    return frozenset([kinds] if isinstance(kinds, str) else kinds)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


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
