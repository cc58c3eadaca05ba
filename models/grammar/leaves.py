"""Texts and numbers that are likely the shortest ones of a JSON schema."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from models.grammar.schemas import kinds_of

FORMATS = {
    "date": "1000-01-01",
    "time": "00:00:00Z",
    "date-time": "1000-01-01T00:00:00Z",
    "duration": "P1D",
    "email": "a@a",
    "hostname": "a",
    "ipv4": "1.1.1.1",
    "ipv6": "::",
    "uri": "a:",
    "uuid": "00000000-0000-0000-0000-000000000000",
}
DECIMALS = 6  # of numbers between two bounds that are near, at most


def likely_texts(schema: dict[str, Any], words: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yields JSON that is likely a short value of a text's or a number's schema; not all of it validates.

    `words` writes letters in few tokens.
    """
    kinds = kinds_of(schema)
    if kinds & {"integer", "number"}:
        yield from (json.dumps(number).encode() for number in dict.fromkeys(_numbers(schema)))
    if "string" in kinds and str(schema.get("format")) in FORMATS:
        yield json.dumps(FORMATS[str(schema["format"])]).encode()
    if "string" in kinds and "format" not in schema and "pattern" not in schema:
        yield b'"' + words(int(_number(schema, "minLength") or 0)) + b'"'


def _numbers(schema: dict[str, Any]) -> Iterator[int | float]:
    """Yields numbers near the bounds of a schema."""
    step = _number(schema, "multipleOf")
    yield from (0, 1, -1) if step is None else (0, step, -step)
    found = [_number(schema, name) for name in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")]
    bounds = [bound for bound in found if bound is not None and math.isfinite(bound)]
    for bound in bounds:
        nearest = math.floor(bound if step is None else bound / step)
        yield from ((nearest + beside) * (step or 1) for beside in (-1, 0, 1, 2))
        yield bound
    if len(bounds) > 1:
        middle = min(bounds) / 2 + max(bounds) / 2
        yield from (round(middle, decimals) for decimals in range(1, DECIMALS + 1))


def _number(schema: dict[str, Any], name: str) -> int | float | None:
    """Returns the number that a keyword has, whole ones as such; None: it has none."""
    value = schema.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value
