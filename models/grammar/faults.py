"""Says of a JSON schema that is not compiled which of its keywords is at fault, and where it stands."""

from __future__ import annotations

import json
import re
from typing import Any

from models.grammar.schemas import schemas

_KEYS = re.compile(r"Unimplemented keys: (\[.*\])")
_MORE = "only where its branches exclude one another, for instance by a const; anyOf is done"


def refused(schema: Any) -> str | None:
    """Returns what is wrong with a schema that compiles and would not hold; None: nothing.

    A key that is not listed in `properties` may come twice, and counts once where JSON is read.
    """
    for place, part in schemas(schema):
        least = part.get("minProperties", 0)
        required = part.get("required", ())
        most = max(1, len(required))
        if least > most:
            return f"minProperties is {least} at {place}, must be at most {most}: list more keys as required"
    return None


def told(schema: Any, message: str) -> str:
    """Returns in words why a schema is not compiled: the keyword and its place, if the message names one."""
    unknown = _KEYS.search(message)
    if unknown is not None:
        keyword = str(json.loads(unknown[1])[0])
        return f"the keyword {keyword} {_at(schema, keyword)}is not done here: leave it out"
    if message.startswith("oneOf"):
        return f"the keyword oneOf {_at(schema, 'oneOf')}is done {_MORE}"
    return message


def _at(schema: Any, keyword: str) -> str:
    place = next((place for place, part in schemas(schema) if keyword in part), None)
    return "" if place is None else f"at {place} "
