"""Calls in an answer are read in every family's form, however the text is cut; what is no call stays content."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.tools.form import FORMS, CallFormat
from models.tools.pieces import CallPiece, Content, FurtherThought, Piece
from models.tools.reader import reader_of
from tests.support.cuts import pieces_of

OFFERED: dict[str, dict[str, Any]] = {
    "weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "where": {"type": ["object", "null"]}},
    },
    "search": {"type": "object", "properties": {"query": {"type": "string"}}},
    "python": {},
}
RECORDED: dict[str, list[dict[str, Any]]] = yaml.safe_load((Path(__file__).parent / "answers.yaml").read_text("utf-8"))
PARTS = """
    <tool_call> </tool_call> {"name":"weather" ,"arguments": {} } [ ] x , [TOOL_CALLS] [ARGS] weather <function=weather>
    </function> <|message|> <|python_tag|> <arg_key> <|tool_call|> <seed:tool_call> <|start|> to=functions.weather
    <|call|> <|channel|> <parameter=a> </parameter> <|tool_call_begin|>
"""


def told(pieces: Sequence[Piece]) -> tuple[str, list[tuple[str, str]]]:
    """The content and the calls of an answer."""
    content, calls = "", list[list[str]]()
    for piece in pieces:
        if not isinstance(piece, CallPiece):
            content += piece.text
        elif piece.name is not None:
            assert piece.index == len(calls)
            calls.append([piece.name, piece.arguments])
        else:
            assert piece.index == len(calls) - 1
            calls[-1][1] += piece.arguments
    return content, [(name, arguments) for name, arguments in calls]


def read(form: CallFormat, pieces: list[str], *, eager: bool) -> tuple[str, list[tuple[str, str]]]:
    reader = reader_of(form, OFFERED, eager=eager)
    return told([*(each for piece in pieces for each in reader.push(piece)), *reader.rest()])


def test_every_form_is_recorded() -> None:
    assert {answer["form"] for answer in RECORDED["answers"]} == set(CallFormat) == set(FORMS)


@given(
    answer=st.sampled_from(RECORDED["answers"]), eager=st.booleans(), places=st.sets(st.integers(0, 400), max_size=40)
)
def test_calls_are_read_however_an_answer_is_cut(answer: dict[str, Any], eager: bool, places: set[int]) -> None:
    content, calls = read(CallFormat(answer["form"]), pieces_of(answer["text"], places), eager=eager)
    assert content == answer["content"]
    assert [{name: json.loads(arguments)} for name, arguments in calls] == answer["calls"]


@given(answer=st.sampled_from(RECORDED["no_calls"]), places=st.sets(st.integers(0, 100), max_size=20))
def test_what_is_no_call_is_content_to_the_letter(answer: dict[str, Any], places: set[int]) -> None:
    pieces = pieces_of(answer["text"], places)
    assert read(CallFormat(answer["form"]), pieces, eager=False) == (answer["text"], [])


@given(
    form=st.sampled_from(CallFormat),
    text=st.lists(st.sampled_from([*PARTS.split(), " ", "\n"]), max_size=10).map("".join),
    eager=st.booleans(),
    places=st.sets(st.integers(0, 200), max_size=12),
)
def test_cuts_change_nothing_and_without_calls_no_text_is_lost(
    form: CallFormat, text: str, eager: bool, places: set[int]
) -> None:
    content, calls = read(form, [text], eager=eager)
    assert read(form, pieces_of(text, places), eager=eager) == (content, calls)
    if not calls and form is not CallFormat.HARMONY:  # whose messages' heads are no text
        assert content == text


def test_in_a_stream_arguments_come_as_they_are_written_and_stay_arguments() -> None:
    reader = reader_of(CallFormat.HERMES, OFFERED, eager=True)
    head, *rest = [*reader.push('<tool_call>\n{"name": "weather", "arguments": {"ci')]
    assert head == CallPiece(index=0, name="weather", arguments="")
    assert rest == [CallPiece(index=0, arguments='{"ci')]
    assert list(reader.push('ty": "Os')) == [CallPiece(index=0, arguments='ty": "Os')]
    assert list(reader.push("lo\", 'days': 3}}\n</tool_call> so")) == [
        CallPiece(index=0, arguments='lo", '),
        CallPiece(index=0, arguments="'days': 3}}\n"),
        Content(text="so"),
    ]


def test_a_further_thought_on_a_channel_is_no_content() -> None:
    text = "<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>final<|message|>Rain."
    reader = reader_of(CallFormat.HARMONY, OFFERED, eager=True)
    assert list(reader.push(text)) == [FurtherThought(text="So."), Content(text="Rain.")]


def test_numbers_and_characters_that_nobody_can_read_are_no_calls() -> None:
    for odd in ("9" * 5_000, "[" * 2_000 + "]" * 2_000, '"\\ud800"'):
        for text in (f'{{"name": "weather", "arguments": {{"days": {odd}}}}}', f'{{"name": {odd}, "arguments": {{}}}}'):
            whole = f"<tool_call>{text}</tool_call>"
            assert read(CallFormat.HERMES, [whole], eager=False) == (whole, [])
            content, calls = read(CallFormat.HERMES, [whole], eager=True)
            assert "".join((content, *(arguments for _, arguments in calls))).encode()


def test_a_thousand_markers_of_no_call_take_no_time_to_speak_of() -> None:
    text = '<tool_call>{"name": ' * 1_000
    assert read(CallFormat.HERMES, [text], eager=True) == (text, [])


def test_a_schema_that_is_none_changes_no_more_than_how_a_value_is_read() -> None:
    for odd in ({"type": ["string", {}]}, {"enum": 5}, {"type": {}}, {"type": 5, "enum": [{}]}):
        offered = {"weather": {"properties": {"days": odd}}}
        text = "<tool_call><function=weather><parameter=days>x</parameter></function></tool_call>"
        reader = reader_of(CallFormat.CODER, offered, eager=True)
        assert told([*reader.push(text), *reader.rest()]) == ("", [("weather", '{"days": "x"}')])
