"""What a request holds its answer to, as text: it crosses to the engine's process, which compiles it there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from models.errors import LaserError

MOST_TEXT = 65_536  # characters of a grammar
ANY_OBJECT = '{"type":"object"}'


class GrammarError(LaserError, ValueError):
    """A grammar cannot be used: it is wrong, is not done here, or is too large."""

    def __init__(self, asked_by: str, why: str) -> None:
        """`asked_by`: the request's field; "": none alone is at fault."""
        super().__init__(f"{asked_by}: {why}" if asked_by else why)
        self.asked_by = asked_by


class GrammarKind(StrEnum):
    """The language in which a grammar is written."""

    JSON_SCHEMA = "json schema"  # text: a JSON schema; the answer is JSON that it validates
    CHOICE = "choice"  # text: a JSON list of texts, of which the answer is one
    REGEX = "regex"  # text: a regular expression, which the whole answer matches
    GRAMMAR = "grammar"  # text: a grammar in Lark's syntax, or in GBNF, llama.cpp's


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """What an answer is held to. Two that say the same are equal, whichever field asked for them."""

    kind: GrammarKind
    text: str
    compact: bool = False  # JSON without blanks between its parts
    asked_by: str = field(default="the grammar", compare=False)  # the request's field, which errors name

    def __post_init__(self) -> None:
        if len(self.text) > MOST_TEXT:
            raise GrammarError(self.asked_by, f"has {len(self.text)} characters, must be at most {MOST_TEXT}")

    @classmethod
    def json_schema(cls, schema: Any, *, asked_by: str, compact: bool = False) -> Grammar:
        """Returns the grammar of a JSON schema, as JSON has it. Raises GrammarError if it is false or too long."""
        if schema is False:
            raise GrammarError(asked_by, "is false: no answer validates it")
        text = json.dumps({} if schema is True else schema, ensure_ascii=False, separators=(",", ":"))
        return cls(kind=GrammarKind.JSON_SCHEMA, text=text, compact=compact, asked_by=asked_by)

    @classmethod
    def choice(cls, texts: Sequence[str], *, asked_by: str) -> Grammar:
        """Returns the grammar whose answers are `texts`. Raises GrammarError if there is none, or an empty one."""
        if not texts:
            raise GrammarError(asked_by, "has 0 texts, needs 1 or more")
        if "" in texts:
            raise GrammarError(asked_by, "has an empty text, each must have at least 1 character")
        return cls(kind=GrammarKind.CHOICE, text=json.dumps(list(texts), ensure_ascii=False), asked_by=asked_by)
