"""The grammar, in Lark's syntax, of answers that call tools: which calls may come, and what may stand beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import groupby
from typing import Any, Protocol

from models.grammar.grammar import Grammar, GrammarError, GrammarKind
from models.tools.channels import END, MESSAGE, START
from models.tools.form import FORMS, CallForm, CallFormat, CallStyle
from models.tools.offer import Calling, OfferedTool, ToolOffer
from models.tools.tagged import is_text
from models.tools.writing import around_arguments, join_of

_WORDS = frozenset(("title", "description", "default", "examples", "$comment"))  # of a schema, that hold nothing
_VALUES = frozenset(("enum", "const"))  # whose values are no schemas
_NAMED = frozenset(("properties", "$defs", "definitions", "patternProperties"))  # whose keys are names
TEXT = r"/(.|\n)*/"
_HEADS = (  # of a message that is a call, behind the end of the one before
    "<|channel|>commentary to=functions.{} <|constrain|>json",
    " to=functions.{}<|channel|>commentary <|constrain|>json",
    " to=functions.{}<|channel|>commentary json",
    "<|channel|>analysis to=functions.{} <|constrain|>json",
)


class Speller(Protocol):
    """What spells texts in a model's tokens."""

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, in which markers become control tokens."""

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens."""


def calls_grammar(
    name: CallFormat,
    offer: ToolOffer,
    speller: Speller,
    controls: AbstractSet[int],
    answer: Grammar | None = None,
) -> Grammar | None:
    """Returns the grammar of the answers that an offer allows; None: any text will do.

    `controls`: the tokens that no text spells; the grammar names them by their ids. `answer`: what an answer without
    calls is held to; None: nothing. Raises GrammarError if that, or a strict tool, cannot be held in this form.
    """
    asked_by = offer.held_by or (None if answer is None else answer.asked_by)
    if asked_by is None:
        return None
    if offer.calling is not Calling.AUTO:
        answer = None
    if answer is not None and answer.kind is not GrammarKind.JSON_SCHEMA:
        raise GrammarError(answer.asked_by, "is given beside tools: must be a JSON schema, or without them")
    text = _Rules(FORMS[name], offer, _literal(speller, controls), answer).written
    return Grammar(kind=GrammarKind.GRAMMAR, text=text, asked_by=asked_by)


def _literal(speller: Speller, controls: AbstractSet[int]) -> Callable[[str], str]:
    """Returns what writes a text into a grammar: control tokens by id, all else in quotes."""

    def parts(text: str) -> Iterator[str]:
        for control, group in groupby(speller.encode(text), key=lambda token: token in controls):
            tokens = list(group)
            yield from (f"<[{token}]>" for token in tokens) if control else (_quoted(speller.decode(tokens)),)

    def written(text: str) -> str:
        return " ".join(parts(text)) if text else '""'

    return written


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class _Rules:
    """Writes the rules of one grammar."""

    def __init__(self, form: CallForm, offer: ToolOffer, literal: Callable[[str], str], answer: Grammar | None) -> None:
        self._answer = answer
        self._form = form
        self._offer = offer
        self._literal = literal
        self._lines: list[str] = []

    @property
    def written(self) -> str:
        form, required = self._form, self._offer.calling is Calling.REQUIRED
        for number, tool in enumerate(self._offer.callable):
            self._lines.append(f"call_{number}: {self._call(number, tool)}")
        call = "(" + " | ".join(f"call_{number}" for number in range(len(self._offer.callable))) + ")"
        before, between, behind = map(self._literal, join_of(form))
        several = self._offer.parallel and form.style is not CallStyle.CHANNELS
        self._lines.append(f"calls: {before} {call} {f'({between} {call})*' if several else ''} {behind}")
        start = "calls" if required else self._beside_text()
        return "\n".join(["%llguidance {}", f"start: {start}", *self._lines])

    def _beside_text(self) -> str:
        """Returns the rule of an answer that may call tools: text before the calls, or nothing else."""
        if self._answer is not None:
            schema = json.loads(self._answer.text)
            self._lines.append(f"answer: %json {_embedded(schema, strict=True, compact=self._answer.compact)}")
            return "answer | calls"
        first = self._form.around[0] if self._form.around else self._form.begin
        if self._form.bare or self._form.style is CallStyle.CHANNELS:  # a call is the whole answer
            self._lines.append(r"text: /[ \t\r\n]*([^\[{ \t\r\n](.|\n)*)?/" if self._form.bare else f"text: {TEXT}")
            return "text | calls"
        self._lines.append(f"text: {TEXT}")
        mark = self._literal(first)
        if mark.startswith("<["):
            return "text calls?"
        # no token of its own tells where a call begins: the text up to its marker is one lazy piece
        self._lines.append(f"led[lazy]: {TEXT} {mark}")
        self._lines.append(f"behind_mark: {self._rest_of_calls(mark)}")
        return "text | led behind_mark"

    def _rest_of_calls(self, mark: str) -> str:
        """Returns the rule of calls without their first marker, which has come."""
        calls = next(line for line in self._lines if line.startswith("calls:")).removeprefix("calls: ")
        heads = [line for line in self._lines if line.startswith("call_")]
        if calls.startswith(mark[:-1]):  # the marker stands before all calls
            return _without(mark, calls)
        rest = [f"rest_{line.removeprefix('call_').partition(':')[0]}: {_without(mark, line.partition(': ')[2])}"
                for line in heads]  # fmt: skip
        self._lines += rest
        first = "(" + " | ".join(line.partition(":")[0] for line in rest) + ")"
        call = "(" + " | ".join(line.partition(":")[0] for line in heads) + ")"
        return calls.replace(call, first, 1)

    def _call(self, number: int, tool: OfferedTool) -> str:
        form = self._form
        if form.style is CallStyle.TAGS:
            return self._tagged(number, tool)
        self._lines.append(f"arguments_{number}: %json {_schema(tool, tool.parameters)}")
        if form.style is CallStyle.CHANNELS:
            heads = (self._literal(f"{END}{START}assistant{head.format(tool.name)}{MESSAGE}") for head in _HEADS)
            return f"({' | '.join(heads)}) arguments_{number}"
        before, behind = map(self._literal, around_arguments(form, tool.name))
        return f"{before} arguments_{number} {behind}"

    def _tagged(self, number: int, tool: OfferedTool) -> str:
        """Returns the rule of a call whose parameters stand in tags, in the schema's order."""
        form, tags, parts = self._form, self._form.tags, []
        line = "" if tags.value[0] else "\n"  # around a value
        required = tool.parameters.get("required", [])
        if not isinstance(required, list):
            raise GrammarError("tools", f"required of the tool {tool.name!r} is {required!r}, must be a list of names")
        for place, (key, schema) in enumerate(_properties(tool)):
            rule = f"value_{number}_{place}"
            head = self._literal(f"{tags.key[0]}{key}{tags.key[1]}\n{tags.value[0]}")
            tail = f"{line}{tags.value[1]}\n"
            if is_text(schema) and "enum" not in schema:
                _check_text(tool, key, schema)
                self._lines.append(f"{rule}[lazy]: {TEXT} {_quoted(tail)}")
                part = f"{head} {rule}"
            else:
                self._lines.append(f"{rule}: {_value(tool, schema)}")
                part = f"{head} {rule} {self._literal(tail)}"
            parts.append(part if key in required else f"({part})?")
        opening = self._literal(
            f"{form.begin}{'' if not tags.close else chr(10)}{tags.name[0]}{tool.name}{tags.name[1]}\n"
        )
        closing = self._literal(f"{tags.close}{chr(10) if tags.close else ''}{form.end}")
        return " ".join((opening, *parts, closing))


def _without(mark: str, rule: str) -> str:
    """Returns a rule that begins with the text of `mark`, without that."""
    text, rest = json.loads(mark), rule
    string, behind = json.JSONDecoder().raw_decode(rest)
    assert string.startswith(text)
    return f"{_quoted(string[len(text) :])}{rest[behind:]}"


def _properties(tool: OfferedTool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the parameters that a tool may get, with their schemas. Raises GrammarError for one that is no schema."""
    properties = tool.parameters.get("properties")
    for key, schema in properties.items() if isinstance(properties, Mapping) else ():
        if not isinstance(schema, Mapping | bool):
            where = f"properties.{key} of the tool {tool.name!r}"
            raise GrammarError("tools", f"{where} is {schema!r}, must be a JSON schema")
        if schema is not False:
            yield key, {} if schema is True else schema


def _value(tool: OfferedTool, schema: Mapping[str, Any]) -> str:
    """Returns the rule of a parameter's value in tags, where a text stands without its quotation marks."""
    if isinstance(schema.get("enum"), list):
        texts = (each if isinstance(each, str) else json.dumps(each) for each in schema["enum"])
        return " | ".join(map(_quoted, texts))
    whole = {**schema, **{key: tool.parameters[key] for key in ("$defs", "definitions") if key in tool.parameters}}
    return f"%json {_schema(tool, whole, object_only=False)}"


def _check_text(tool: OfferedTool, key: str, schema: Mapping[str, Any]) -> None:
    """Raises GrammarError if a strict tool asks more of a text than that it is one."""
    more = sorted(schema.keys() & {"maxLength", "minLength", "pattern", "format", "const"})
    if tool.strict and more:
        where = f"properties.{key} of the strict tool {tool.name!r}"
        raise GrammarError("tools", f"{more[0]} of {where} is not done in this model's form of calls")


def _schema(tool: OfferedTool, schema: Mapping[str, Any], *, object_only: bool = True) -> str:
    """Returns a tool's schema as a grammar embeds it."""
    kind = {"type": "object"} if object_only and "type" not in schema else {}
    return _embedded({**kind, **schema}, strict=tool.strict)


def _embedded(schema: Any, *, strict: bool, compact: bool = False) -> str:
    """Returns a schema as a grammar embeds it: with single blanks; if not `strict`, as far as its keywords are done.

    `compact`: without blanks.
    """
    blank = "" if compact else " "
    options = {
        "whitespace_flexible": False,
        "item_separator": f",{blank}",
        "key_separator": f":{blank}",
        "lenient": not strict,
        "coerce_one_of": not strict,
    }
    own = _bare(schema)
    return json.dumps({**own, "x-guidance": options} if isinstance(own, dict) else own, ensure_ascii=False)


def _bare(schema: Any, *, names: bool = False) -> Any:
    """Returns a schema without the words that hold nothing. `names`: the keys are names of the schema's own."""
    if isinstance(schema, list):
        return [_bare(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: value for key, value in schema.items() if names or key not in _WORDS}
    return {
        key: value if key in _VALUES and not names else _bare(value, names=not names and key in _NAMED)
        for key, value in kept.items()
    }
