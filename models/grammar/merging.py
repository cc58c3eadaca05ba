"""A JSON schema's part without references and unions: each of the schemas of which a value validates one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from models.grammar.extent import BESIDE
from models.grammar.schemas import kinds_of, mapping, meant

Schema: TypeAlias = dict[str, Any]

DEEP = 12  # references and unions in one another
MOST = 64  # schemas that one part becomes
MERGES = 4_096  # of two schemas, for the parts of one
LEFT_OUT = (BESIDE - {"type"}) | {"$ref", "allOf", "anyOf", "oneOf"}


class Joins:
    """What the parts of one schema may be, each told once, by about MERGES merges at most."""

    def __init__(self, root: Any) -> None:
        """`root`: the schema. It must stay as it is."""
        self._root = root
        self.merges = 0  # so far; each property that two schemas share counts as one more
        self._known: dict[tuple[int, int], list[Schema]] = {}  # by a part's id, and how deep it was looked at
        self._joint: dict[tuple[int, int], Schema] = {}  # what two parts are together, by their ids

    def alternatives(self, schema: Any, depth: int = DEEP) -> list[Schema]:
        """Returns what a part may be. Keywords that cannot be joined stand in `allOf`.

        `schema` is a part of the root, or of what was returned.
        """
        if schema is True:
            return [{}]
        if not isinstance(schema, dict) or depth == 0:
            return []
        key = (id(schema), depth)
        if key not in self._known:
            self._known[key] = self._found(schema, depth)
        return self._known[key]

    def _found(self, schema: Schema, depth: int) -> list[Schema]:
        found: list[Schema] = [{name: value for name, value in schema.items() if name not in LEFT_OUT}]
        joined = [[meant(self._root, schema["$ref"])]] if "$ref" in schema else []
        joined += [[each] for each in _listed(schema.get("allOf"))]
        joined += [_listed(schema[name]) for name in ("anyOf", "oneOf") if name in schema]
        for union in joined:
            others = _few(one for each in union for one in self.alternatives(each, depth - 1))
            found = _few(self._merged(one, other) for one in found for other in others)
        return found

    def _merged(self, one: Schema, other: Schema) -> Schema | None:
        """Returns what validates both; None: there were too many merges."""
        if not one or not other:
            return one or other
        if self.merges >= MERGES:
            return None
        self.merges += 1
        merged = dict(one)
        for name, value in other.items():
            if name == "type" and name in merged:
                merged[name] = sorted(_wide(one) & _wide(other))
            elif name not in merged:
                merged[name] = value
            elif name == "properties":
                merged[name] = self._properties(mapping(merged[name]), mapping(value))
            elif name == "required":
                merged[name] = [*_listed(merged[name]), *_listed(value)]
            elif merged[name] != value:
                merged["allOf"] = [*merged.get("allOf", ()), {name: value}]
        return merged

    def _properties(self, one: Schema, other: Schema) -> Schema:
        shared = {name: self._both(one[name], other[name]) for name in one if name in other}
        self.merges += len(shared)
        return {**one, **other, **shared}

    def _both(self, one: Any, other: Any) -> Schema:
        return self._joint.setdefault((id(one), id(other)), {"allOf": [one, other]})


def _wide(schema: Schema) -> frozenset[str]:
    kinds = kinds_of(schema)
    return kinds | {"integer"} if "number" in kinds else kinds


def _few(found: Iterable[Schema | None]) -> list[Schema]:
    """Returns the first schemas, MOST of them, each once."""
    few: dict[int, Schema] = {}
    for one in found:
        if one is not None:
            few.setdefault(id(one), one)
        if len(few) == MOST or one is None:
            break
    return list(few.values())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
