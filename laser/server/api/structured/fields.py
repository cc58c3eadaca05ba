"""Reads what requests hold their answer to into one grammar.

| field | known from |
|---|---|
| `response_format: {type: json_schema, json_schema: {schema}}`, `{type: json_object}` | OpenAI |
| `response_format: {type: json_object, schema}` | llama.cpp |
| `structured_outputs: {json, regex, choice, grammar, json_object}` | vLLM |
| `guided_json`, `guided_regex`, `guided_choice`, `guided_grammar` | vLLM's older releases |
| `json_schema`, `grammar` | llama.cpp |
| `json_schema`, `regex`, `ebnf` | SGLang |

A request may use one of them. A schema is held to whether or not it is `strict`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from laser.server.api.base import Fields, Switch, encodable
from laser.server.api.errors import BadRequest, clipped, shown
from models.grammar.grammar import MOST_TEXT, Grammar, GrammarKind


def _schema(given: object) -> object:
    """Returns a JSON schema as what JSON has; one that comes as text is read. Raises ValueError if it is none."""
    if isinstance(given, str):
        if len(given) > MOST_TEXT:
            raise ValueError(f"has {len(given)} characters, must be at most {MOST_TEXT}")
        try:
            given = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"is {shown(given)}, must be a JSON schema: {clipped(str(error))}") from error
    if given is not None and not isinstance(given, dict | bool):
        raise ValueError(f"is {shown(given)}, must be a JSON schema: an object, true or false")
    return given


def _written(given: object) -> object:
    """Returns a text; None for an empty one, which asks for nothing."""
    return None if given == "" else encodable(given)


def _choices(given: object) -> object:
    """Returns texts to choose from; None for an empty list, which asks for nothing."""
    return None if given == [] else given


Written = Annotated[str | None, BeforeValidator(_written)]
Choices = Annotated[tuple[Annotated[str, BeforeValidator(encodable)], ...] | None, BeforeValidator(_choices)]
JsonSchema = Annotated[
    dict[str, Any] | bool | None, BeforeValidator(_schema, json_schema_input_type=dict[str, Any] | bool | str | None)
]


AnswerFormat = Literal["text", "json_object", "json_schema"]


def format_grammar(kind: AnswerFormat, schema: dict[str, Any] | bool | None, name: str, place: str) -> Grammar | None:
    """Returns the grammar that a format asks for; None: any text will do.

    `name`: the format's field; `place`: the schema's. Raises BadRequest if there is no schema where there must be one,
    or one where there may be none.
    """
    if kind == "text" and schema is not None:
        raise BadRequest(f"{place} is given, but {name}.type is 'text': must be one of them", param=place)
    if kind == "text":
        return None
    if kind == "json_schema" and schema is None:
        raise BadRequest(f"{place} is missing: {name}.type is 'json_schema'", param=place)
    if schema is None:
        return Grammar.json_schema({"type": "object"}, asked_by=name)
    return Grammar.json_schema(schema, asked_by=place)


class NamedSchema(Fields):
    """A JSON schema and what it is called."""

    name: str | None = None  # of the schema; it changes nothing here
    description: str | None = None  # what the answer is for; it changes nothing here
    schema_: JsonSchema = Field(default=None, alias="schema")  # JSON schema that the answer validates
    strict: Switch | None = None  # read by others; an answer is held to its schema either way


class ResponseFormat(Fields):
    """What the answer is held to."""

    place: ClassVar[str] = "response_format"

    # `text`: nothing; `json_object`: a JSON object; `json_schema`: JSON that validates the schema
    type: AnswerFormat
    json_schema: NamedSchema | None = None  # for `json_schema`: the schema
    schema_: JsonSchema = Field(default=None, alias="schema")  # for `json_object`: its schema, as llama.cpp has it

    @property
    def grammar(self) -> Grammar | None:
        """The grammar that is asked for; None: none is. Raises BadRequest."""
        name = "response_format"
        named = None if self.json_schema is None else self.json_schema.schema_
        here, there = (self.schema_, f"{name}.schema"), (named, f"{name}.json_schema.schema")
        (schema, place), (other, elsewhere) = (there, here) if self.type == "json_schema" else (here, there)
        if other is not None:
            message = f"{elsewhere} is given, but {name}.type is {self.type!r}, which reads {place}: must be left out"
            raise BadRequest(message, param=elsewhere)
        return format_grammar(self.type, schema, name, place)


class StructuredOutputs(Fields):
    """What the answer is held to, one of these."""

    place: ClassVar[str] = "structured_outputs"

    json_: JsonSchema = Field(default=None, alias="json")  # JSON schema that the answer validates
    regex: Written = None  # regular expression that the whole answer matches
    choice: Choices = None  # texts of which the answer is one
    grammar: Written = None  # grammar of the answer, in Lark's syntax or GBNF
    json_object: Switch | None = None  # true: the answer is a JSON object
    # true: JSON without blanks between its parts, whichever field asks for JSON; where none does, refused
    disable_any_whitespace: Switch | None = None

    def grammars(self) -> Iterator[Grammar]:
        """Yields the grammars that its fields ask for."""
        name = "structured_outputs"
        if self.json_ is not None:
            yield Grammar.json_schema(self.json_, asked_by=f"{name}.json")
        if self.json_object:
            yield Grammar.json_schema({"type": "object"}, asked_by=f"{name}.json_object")
        yield from _texts(name, self.regex, self.choice, self.grammar)


class StructuredFields(Fields):
    """What requests may hold the answer to, in all dialects; a request has one of these at most."""

    response_format: ResponseFormat | None = None  # what the answer is held to, in OpenAI's words
    structured_outputs: StructuredOutputs | None = None  # what the answer is held to, in vLLM's words
    guided_json: JsonSchema = None  # as structured_outputs.json
    guided_regex: Written = None  # as structured_outputs.regex
    guided_choice: Choices = None  # as structured_outputs.choice
    guided_grammar: Written = None  # as structured_outputs.grammar
    json_schema: JsonSchema = None  # as structured_outputs.json
    regex: Written = None  # as structured_outputs.regex
    ebnf: Written = None  # as structured_outputs.grammar
    grammar: Written = None  # as structured_outputs.grammar

    def asked_grammar(self) -> Grammar | None:
        """Returns the grammar that the answer is to be held to; None: nothing holds it.

        Raises BadRequest, which names the field, if there are two or one is wrong by itself.
        """
        found: Grammar | None = None
        for grammar in self._grammars():
            if found is not None:
                message = f"{grammar.asked_by} is given beside {found.asked_by}: must be one of them"
                raise BadRequest(message, param=grammar.asked_by)
            found = grammar
        if self.structured_outputs is None or not self.structured_outputs.disable_any_whitespace:
            return found
        if found is None or found.kind is not GrammarKind.JSON_SCHEMA:
            param = "structured_outputs.disable_any_whitespace"
            raise BadRequest(f"{param} is true, but no field holds the answer to JSON: must be left out", param=param)
        return replace(found, compact=True)

    def _grammars(self) -> Iterator[Grammar]:
        if self.response_format is not None:
            grammar = self.response_format.grammar
            if grammar is not None:
                yield grammar
        if self.structured_outputs is not None:
            yield from self.structured_outputs.grammars()
        for name, schema in (("guided_json", self.guided_json), ("json_schema", self.json_schema)):
            if schema is not None:
                yield Grammar.json_schema(schema, asked_by=name)
        yield from _texts("guided", self.guided_regex, self.guided_choice, self.guided_grammar, joint="_")
        yield from _texts("", self.regex, None, self.grammar, joint="")
        if self.ebnf is not None:
            yield Grammar(kind=GrammarKind.GRAMMAR, text=self.ebnf, asked_by="ebnf")


def _texts(
    name: str, regex: str | None, choice: tuple[str, ...] | None, grammar: str | None, *, joint: str = "."
) -> Iterator[Grammar]:
    """Yields the grammars of the fields `name.regex`, `name.choice` and `name.grammar`, joined by `joint`."""
    before = f"{name}{joint}"
    if regex is not None:
        yield Grammar(kind=GrammarKind.REGEX, text=regex, asked_by=f"{before}regex")
    if choice is not None:
        yield Grammar.choice(choice, asked_by=f"{before}choice")
    if grammar is not None:
        yield Grammar(kind=GrammarKind.GRAMMAR, text=grammar, asked_by=f"{before}grammar")
