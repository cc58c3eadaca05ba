"""The parts of a JSON schema: the schemas in it, and where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

IN_OBJECTS = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
IN_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
PLAIN = frozenset(
    {"additionalProperties", "items", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems",
     "unevaluatedProperties", "additionalItems"}
)  # fmt: skip


def schemas(root: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields a schema and each schema in it that is an object, with its place as a pointer, in order."""
    waiting: list[tuple[str, Any]] = [("#", root)]
    while waiting:
        place, schema = waiting.pop()
        if isinstance(schema, dict):
            yield place, schema
            waiting += reversed(list(_inside(place, schema)))


def _inside(place: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in schema.items():
        if name in IN_OBJECTS and isinstance(value, dict):
            yield from ((f"{place}/{name}/{key}", each) for key, each in value.items())
        elif name in IN_LISTS and isinstance(value, list):
            yield from ((f"{place}/{name}/{number}", each) for number, each in enumerate(value))
        elif name in PLAIN:
            yield f"{place}/{name}", value


def kinds_of(schema: dict[str, Any]) -> frozenset[str]:
    """Returns the kinds of values that a schema names."""
    kinds = schema.get("type")
    return frozenset(kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if isinstance(kind, str))


def mapping(value: Any) -> dict[str, Any]:
    """Returns a value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(schema: dict[str, Any]) -> list[Any] | None:
    """Returns the values that a schema lists; None: it lists none."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return values if isinstance(values, list) else None


def meant(root: Any, reference: Any) -> Any:
    """Returns the part of a schema that a reference names; None: it names none there."""
    part = root
    for step in str(reference).removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        part = part.get(step) if isinstance(part, dict) else None
    return part if str(reference).startswith("#") else None
