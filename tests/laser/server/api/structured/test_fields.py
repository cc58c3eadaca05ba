"""Every server's way of holding an answer to a form comes to one grammar; what is wrong is told by its field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from laser.server.api.chat import ChatRequest
from laser.server.api.completions import TextRequest
from laser.server.api.errors import BadRequest
from laser.server.api.responses import ResponsesRequest
from models.grammar.grammar import Grammar, GrammarError, GrammarKind

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"größe": {"type": "integer"}}}
NAMED = {"name": "answer", "schema": SCHEMA, "strict": True, "description": "what is asked for"}
JSON_SCHEMA = Grammar.json_schema(SCHEMA, asked_by="any")
JSON_OBJECT = Grammar.json_schema({"type": "object"}, asked_by="any")
REGEX = Grammar(kind=GrammarKind.REGEX, text="[0-9]+")
CHOICE = Grammar.choice(["a", "b"], asked_by="any")
GBNF = Grammar(kind=GrammarKind.GRAMMAR, text='root ::= "a"')
WAYS: list[tuple[dict[str, Any], Grammar, str]] = [
    (
        {"response_format": {"type": "json_schema", "json_schema": NAMED}},
        JSON_SCHEMA,
        "response_format.json_schema.schema",
    ),
    ({"response_format": {"type": "json_object"}}, JSON_OBJECT, "response_format"),
    ({"response_format": {"type": "json_object", "schema": SCHEMA}}, JSON_SCHEMA, "response_format.schema"),
    ({"structured_outputs": {"json": SCHEMA}}, JSON_SCHEMA, "structured_outputs.json"),
    ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, JSON_SCHEMA, "structured_outputs.json"),
    ({"structured_outputs": {"json_object": True}}, JSON_OBJECT, "structured_outputs.json_object"),
    ({"structured_outputs": {"regex": "[0-9]+"}}, REGEX, "structured_outputs.regex"),
    ({"structured_outputs": {"choice": ["a", "b"]}}, CHOICE, "structured_outputs.choice"),
    ({"structured_outputs": {"grammar": 'root ::= "a"'}}, GBNF, "structured_outputs.grammar"),
    ({"guided_json": SCHEMA}, JSON_SCHEMA, "guided_json"),
    ({"guided_regex": "[0-9]+"}, REGEX, "guided_regex"),
    ({"guided_choice": ["a", "b"]}, CHOICE, "guided_choice"),
    ({"guided_grammar": 'root ::= "a"'}, GBNF, "guided_grammar"),
    ({"json_schema": SCHEMA}, JSON_SCHEMA, "json_schema"),
    ({"json_schema": json.dumps(SCHEMA)}, JSON_SCHEMA, "json_schema"),
    ({"regex": "[0-9]+"}, REGEX, "regex"),
    ({"ebnf": 'root ::= "a"'}, GBNF, "ebnf"),
    ({"grammar": 'root ::= "a"'}, GBNF, "grammar"),
]
NOTHING: list[dict[str, Any]] = [
    {},
    {"response_format": None},
    {"response_format": {"type": "text"}},
    {"structured_outputs": {}},
    {"structured_outputs": {"json_object": False, "regex": ""}},
    {"guided_choice": [], "guided_regex": "", "grammar": "", "json_schema": None},
]


def chat(**body: Any) -> ChatRequest:
    return ChatRequest.model_validate({"messages": [{"role": "user", "content": "?"}], **body})


@pytest.mark.parametrize(("body", "grammar", "field"), WAYS, ids=str)
def test_every_dialect_says_the_same(body: dict[str, Any], grammar: Grammar, field: str) -> None:
    for asked in (chat(**body), TextRequest.model_validate({"prompt": "?", **body})):
        found = asked.asked_grammar()
        assert found == grammar
        assert found is not None
        assert found.asked_by == field


@pytest.mark.parametrize(
    ("form", "grammar", "field"),
    [
        ({"type": "text"}, None, ""),
        ({"type": "json_object"}, JSON_OBJECT, "text.format"),
        ({"type": "json_schema", **NAMED}, JSON_SCHEMA, "text.format.schema"),
        ({"type": "json_object", "schema": SCHEMA}, JSON_SCHEMA, "text.format.schema"),
    ],
)
def test_responses_have_a_format_of_their_text(form: dict[str, Any], grammar: Grammar | None, field: str) -> None:
    found = ResponsesRequest.model_validate({"input": "?", "text": {"format": form}}).asked_grammar()
    assert found == grammar
    assert found is None or found.asked_by == field


@pytest.mark.parametrize("body", NOTHING, ids=str)
def test_a_request_that_asks_for_nothing_is_free(body: dict[str, Any]) -> None:
    assert chat(**body).asked_grammar() is None


def test_compact_json_is_another_grammar() -> None:
    asked = chat(structured_outputs={"json": SCHEMA, "disable_any_whitespace": True}).asked_grammar()
    assert asked == Grammar.json_schema(SCHEMA, asked_by="any", compact=True)
    assert asked != JSON_SCHEMA


def test_blanks_are_forbidden_in_json_whichever_field_asks_for_it_and_refused_where_none_does() -> None:
    compact = {"disable_any_whitespace": True}
    asked = chat(structured_outputs=compact, response_format={"type": "json_object"}).asked_grammar()
    assert asked == Grammar.json_schema({"type": "object"}, asked_by="any", compact=True)
    assert chat(structured_outputs={"disable_any_whitespace": False}).asked_grammar() is None
    for body in ({"structured_outputs": compact}, {"structured_outputs": {**compact, "regex": "a"}}):
        with pytest.raises(BadRequest, match="disable_any_whitespace is true, but no field holds the answer to JSON"):
            chat(**body).asked_grammar()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs.choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_object", "json_schema": NAMED}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "json_schema", "json_schema": NAMED, "schema": {}}}, "response_format.schema"),
        ({"response_format": {"type": "text", "schema": SCHEMA}}, "response_format.schema"),
    ],
    ids=str,
)
def test_two_forms_or_none_where_one_must_be_are_refused_by_the_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as error:
        chat(**body).asked_grammar()
    assert error.value.param == param
    assert str(error.value).startswith(param)


def test_an_empty_text_to_choose_is_refused_by_the_field() -> None:
    with pytest.raises(GrammarError, match="guided_choice: has an empty text"):
        chat(guided_choice=["a", ""]).asked_grammar()


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"response_format": {"type": "xml"}}, ("response_format", "type")),
        ({"response_format": {"type": "structural_tag", "structures": [{}]}}, ("response_format", "type")),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 7}}},
            ("response_format", "json_schema"),
        ),
        ({"guided_json": "{"}, ("guided_json",)),
        ({"guided_json": [1]}, ("guided_json",)),
        ({"guided_choice": "a"}, ("guided_choice",)),
        ({"structured_outputs": {"whitespace_pattern": " *"}}, ("structured_outputs", "whitespace_pattern")),
        ({"structural_tag": "{}"}, ("structural_tag",)),
        ({"guided_whitespace_pattern": " *"}, ("guided_whitespace_pattern",)),
    ],
    ids=str,
)
def test_what_is_no_form_or_is_not_done_is_refused_by_its_place(body: dict[str, Any], place: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as error:
        chat(**body)
    assert error.value.errors()[0]["loc"][: len(place)] == place
