"""Random JSON schemas over the keywords that are done, each of which some value validates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Schema = dict[str, Any]

NAMES = ("answer", "steps", "unit", "sure", "name", "x", "größe", "a b", "total_count", "kind", "value", "why")
WORDS = ("red", "green", "blue", "yes", "no", "left", "right", "ok", "zwölf", 'a "quoted" one', "")
FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "email", "hostname", "duration")
PATTERNS = ("[a-z]{2,5}", "^[A-Z][0-9]{3}$", "^(ab|cd)+$", "^[0-9]{4}-[0-9]{2}$")
DEEPEST = 3  # schemas in one another


class SchemaSource:
    """Draws schemas from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._definitions: dict[str, Schema] = {}

    def draw(self) -> Schema:
        """Returns the next schema."""
        self._definitions = {}
        schema = self._any(0)
        if self._definitions:
            schema = {**schema, "$defs": self._definitions}
        if self._chance(0.3):
            schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Answer", **schema}
        return schema

    def _chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def _one(self, options: Any) -> Any:
        return options[int(self._rng.integers(len(options)))]

    def _any(self, depth: int) -> Schema:
        flat: list[Callable[[int], Schema]] = [
            self._integer, self._number, self._text, self._listed, self._plain, self._formatted
        ]  # fmt: skip
        deep: list[Callable[[int], Schema]] = [
            self._object, self._object, self._object, self._array, self._map, self._union, self._joined, self._named
        ]  # fmt: skip
        make = self._one(deep if depth == 0 and self._chance(0.8) else flat if depth >= DEEPEST else flat + deep)
        schema: Schema = make(depth)
        return {**schema, "description": "what is asked for"} if self._chance(0.1) else schema

    # --- values without parts

    def _integer(self, depth: int) -> Schema:
        schema: Schema = {"type": "integer"}
        least = int(self._rng.integers(-50, 50))
        if self._chance(0.4):
            schema[self._one(("minimum", "exclusiveMinimum"))] = least
        if self._chance(0.4):
            schema[self._one(("maximum", "exclusiveMaximum"))] = least + int(self._rng.integers(2, 1_000))
        if len(schema) == 1 and self._chance(0.3):
            schema["multipleOf"] = int(self._rng.integers(2, 12))
        return schema

    def _number(self, depth: int) -> Schema:
        schema: Schema = {"type": "number"}
        if self._chance(0.3):
            schema |= {"minimum": -2.5, "maximum": float(self._rng.integers(0, 100))}
        return schema

    def _text(self, depth: int) -> Schema:
        schema: Schema = {"type": "string"}
        least = int(self._rng.integers(0, 12))
        if self._chance(0.3):
            schema["minLength"] = least
        if self._chance(0.4):
            schema["maxLength"] = least + int(self._rng.integers(0, 30))
        if len(schema) == 1 and self._chance(0.4):
            schema["pattern"] = self._one(PATTERNS)
        return schema

    def _formatted(self, depth: int) -> Schema:
        return {"type": "string", "format": self._one(FORMATS)}

    def _listed(self, depth: int) -> Schema:
        if self._chance(0.3):
            return {"const": self._one((*WORDS, 7, None, True, [1, 2], {"k": "v"}))}
        count = int(self._rng.integers(1, 5))
        texts = [self._one(WORDS) for _ in range(count)]
        return {"enum": [*dict.fromkeys(texts), *([None] if self._chance(0.2) else [])]}

    def _plain(self, depth: int) -> Schema:
        schema: Schema = self._one(({"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {}))
        return schema

    # --- values with parts

    def _object(self, depth: int) -> Schema:
        names = [str(name) for name in self._rng.permutation(NAMES)[: int(self._rng.integers(1, 6))]]
        schema: Schema = {"type": "object", "properties": {name: self._any(depth + 1) for name in names}}
        required = [name for name in names if self._chance(0.7)]
        if required:
            schema["required"] = required
        if self._chance(0.7):
            schema["additionalProperties"] = False
        elif self._chance(0.3):
            schema["additionalProperties"] = self._any(DEEPEST)
        return schema

    def _map(self, depth: int) -> Schema:
        schema: Schema = {"type": "object"}
        if self._chance(0.5):
            schema["patternProperties"] = {"^[a-z]{1,6}$": self._any(depth + 1)}
            schema["additionalProperties"] = False
        else:
            schema["additionalProperties"] = self._any(depth + 1)
        if self._chance(0.5):
            schema[self._one(("minProperties", "maxProperties"))] = 1
        return schema

    def _array(self, depth: int) -> Schema:
        schema: Schema = {"type": "array", "items": self._any(depth + 1)}
        least = int(self._rng.integers(0, 4))
        if self._chance(0.5):
            schema["minItems"] = least
        if self._chance(0.5):
            schema["maxItems"] = least + int(self._rng.integers(0, 4))
        if self._chance(0.2):
            schema = {"type": "array", "prefixItems": [self._any(depth + 1), self._any(depth + 1)], "items": False}
            schema["minItems"] = int(self._rng.integers(0, 3))
        return schema

    def _union(self, depth: int) -> Schema:
        if self._chance(0.4):
            kinds = ("circle", "square")
            parts = [
                {
                    "type": "object",
                    "properties": {"kind": {"const": kind}, "size": self._any(depth + 1)},
                    "required": ["kind", "size"],
                    "additionalProperties": False,
                }
                for kind in kinds
            ]
            return {"oneOf": parts}
        return {"anyOf": [self._any(depth + 1) for _ in range(int(self._rng.integers(2, 4)))]}

    def _joined(self, depth: int) -> Schema:
        first: Schema = {"type": "object", "properties": {"first": self._any(depth + 1)}, "required": ["first"]}
        second: Schema = {"type": "object", "properties": {"second": self._any(depth + 1)}, "required": ["second"]}
        return {"allOf": [first, second]}

    def _named(self, depth: int) -> Schema:
        name = f"part{len(self._definitions)}"
        self._definitions[name] = {}  # for its place
        if self._chance(0.3):  # a tree
            self._definitions[name] = {
                "type": "object",
                "properties": {
                    "value": self._any(DEEPEST),
                    "next": {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]},
                },
                "required": ["value", "next"],
                "additionalProperties": False,
            }
        else:
            self._definitions[name] = self._any(depth + 1)
        return {"$ref": f"#/$defs/{name}"}
