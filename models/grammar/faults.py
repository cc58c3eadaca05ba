"""Says why a grammar is not compiled: which keyword of a JSON schema is at fault, and where in a text."""

from __future__ import annotations

import json
import re
from typing import Any

from llguidance.gbnf_to_lark import any_to_lark

from models.grammar.grammar import Grammar, GrammarKind
from models.grammar.schemas import schemas
from models.grammar.vocabulary import in_one_line

_KEYS = re.compile(r"Unimplemented keys: (\[.*\])")
_PLACE = re.compile(r"(?:at )?(\d+)\((\d+)\): ")
_REGEX = re.compile(r"regex parse error:\n {4}(.*)\n {4}( *)\^+\nerror: (.*)")
_SOURCE = re.compile(r"\n +\d+ \| ")  # where the text is shown that llguidance has read
_LIMITS = "limits."  # names llguidance's own settings, which no request has
SHOWN = 60  # characters of a regular expression
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


def told(grammar: Grammar, message: str) -> str:
    """Returns in words, of a message of llguidance's, why a grammar is not compiled.

    They name the keyword of a schema and its place, and places in what the request wrote, never in what was made of it.
    """
    schema = json.loads(grammar.text) if grammar.kind is GrammarKind.JSON_SCHEMA else None
    unknown = _KEYS.search(message)
    if unknown is not None:
        keyword = str(json.loads(unknown[1])[0])
        return f"the keyword {keyword} {_at(schema, keyword)}is not done here: leave it out"
    if message.startswith("oneOf"):
        return f"the keyword oneOf {_at(schema, 'oneOf')}is done {_MORE}"
    if _LIMITS in message:
        return f"is too complex: {in_one_line(message.partition(';')[0])}"
    place = _PLACE.match(message)
    line = "" if place is None or not _as_written(grammar) else f"line {place[1]}, column {place[2]}: "
    return line + (_of_regex(grammar, message) or in_one_line(_SOURCE.split(_PLACE.sub("", message), 1)[0]))


def _of_regex(grammar: Grammar, message: str) -> str | None:
    """Returns what is wrong with a regular expression; None: the message is of something else."""
    found = _REGEX.search(message)
    if found is None:
        return None
    text, before, why = found.groups()
    if grammar.kind is GrammarKind.REGEX and text != grammar.text:  # a slash or a line's end is written otherwise
        return why
    start = max(0, len(before) - SHOWN // 2)
    part = text[start : start + SHOWN]
    return f"{why}, at column {len(before) + 1} of the regular expression, in {part!r}"


def _as_written(grammar: Grammar) -> bool:
    """Whether llguidance has read the request's own text, and not what was made of that."""
    return grammar.kind is GrammarKind.GRAMMAR and any_to_lark(grammar.text) == grammar.text


def _at(schema: Any, keyword: str) -> str:
    place = next((place for place, part in schemas(schema) if keyword in part), None)
    return "" if place is None else f"at {place} "
