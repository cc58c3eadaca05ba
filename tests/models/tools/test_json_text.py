"""A JSON value in pieces of text ends where it ends, and what is none is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tools.json_text import JsonText
from tests.support.cuts import pieces_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def read(pieces: list[str]) -> tuple[JsonText, str, str]:
    """The reader behind these pieces, what it took, and what it left."""
    value, taken, left = JsonText(), "", ""
    for piece in pieces:
        said, rest = value.push(piece)
        taken, left = taken + said, left + rest
    return value, taken, left


@given(
    value=VALUES, ascii_only=st.booleans(), indent=st.none() | st.just(1), behind=st.sampled_from([",", "}", "] x"]),
    places=st.sets(st.integers(0, 200), max_size=8),
)  # fmt: skip
def test_a_value_ends_where_it_ends_however_it_is_cut(
    value: Any, ascii_only: bool, indent: int | None, behind: str, places: set[int]
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    reader, taken, left = read(pieces_of(text + behind, places))
    assert reader.complete
    assert (taken, left) == (text, behind)


@given(text=st.text(alphabet='{}[]",:0e.-ax\\u \n', max_size=12), places=st.sets(st.integers(0, 12), max_size=4))
def test_what_json_forbids_is_broken_and_what_it_allows_is_not(text: str, places: set[int]) -> None:
    reader, taken, left = read([*pieces_of(text, places), ","])
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text.lstrip())
    except ValueError:
        assert not reader.complete
    else:
        if isinstance(value, float | int) and not text.lstrip()[end:].startswith((" ", "\n", ",", "}", "]")):
            return  # a word that goes on is no number
        assert not reader.broken or text.lstrip()[end:]
    assert reader.broken or reader.complete or taken + left


def test_line_ends_in_a_string_become_escapes() -> None:
    reader, taken, _ = read(['{"code": "a\n', '\tb"}'])
    assert reader.complete
    assert json.loads(taken) == {"code": "a\n\tb"}


@pytest.mark.parametrize("text", ["{,", "{1:", "[1,]", "{'a'", '{"a":,', '{"a" 1', "nul ", "01 ", "1. ", '"\\x'])
def test_a_fault_is_known_at_once(text: str) -> None:
    assert read(list(text))[0].broken
