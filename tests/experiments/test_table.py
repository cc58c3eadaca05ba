"""Tables explain their own columns, in the same words everywhere, and once in a text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controller.serving.request import ExitReason
from experiments.columns import COLUMNS, ENDS, EVERYDAY, meanings
from experiments.table import WIDTH, Table, explained, text, texts, wrapped


def table(*header: str, note: str = "", names: tuple[str, ...] = ()) -> Table:
    return Table(title="A table", header=header, rows=(tuple("0" for _ in header),), note=note, names=names)


def test_a_column_that_no_word_explains_cannot_stand_in_a_table() -> None:
    with pytest.raises(AssertionError, match="'shedded' is explained in no word"):
        table("policy", "shedded")
    assert table("policy", "shedded", names=("shedded",)).header[1] == "shedded"


def test_each_column_is_explained_below_the_first_table_that_has_it() -> None:
    first, second, third = explained(
        [table("policy", "shed"), table("way", "shed", "load", note="By hand."), table("way", "shed")]
    )
    assert first.note == f"shed: {COLUMNS['shed']}."
    assert second.note == f"By hand. load: {COLUMNS['load']}."
    assert third.note == ""


def test_a_benchmark_called_like_a_column_is_not_explained_as_one() -> None:
    (found,) = explained([table("policy", "cut", names=("cut",))])
    assert found.note == ""


def test_columns_of_one_meaning_are_explained_together() -> None:
    assert meanings(["policy", "p10", "accuracy", "p50"]) == (
        f"p10, p50: {COLUMNS['p10']}; accuracy: {COLUMNS['accuracy']}"
    )
    assert meanings(["policy"]) == ""


def test_columns_stand_below_their_heads_and_lines_are_not_too_long() -> None:
    wide = Table(
        title="",
        header=("policy", *list(COLUMNS)[:6]),
        rows=(("a long policy's name", *"123456"), ("b", *["1234567890" * 2] * 6)),
    )
    lines = text(explained([wide])[0]).splitlines()
    assert len({len(line) for line in lines[:3]}) == 1
    assert all(line.startswith("  ") and len(line) <= WIDTH for line in lines[3:])
    assert len(lines) > 4
    assert list(texts([wide, wide]))[1].splitlines() == lines[:3]


def test_no_line_ends_between_a_number_and_its_percent_sign() -> None:
    for start in range(WIDTH):
        said = f"{'x' * start} 95 %: 0.2 … 1.8"
        lines = wrapped(said)
        assert not any(line.startswith("%") for line in lines)
        assert " ".join(lines).split() == said.split()


def test_every_exit_reason_has_its_words() -> None:
    assert set(ENDS) == {*ExitReason, "unended"}


def test_words_stand_once_and_as_in_the_glossary() -> None:
    assert not EVERYDAY & set(COLUMNS)
    glossary = (Path(__file__).parents[2] / "docs/glossary.md").read_text(encoding="utf-8")
    for word in ("shed", "unended", "utility", "p10"):
        assert re.search(rf"^\| \*\*[^|]*\b{word}\b[^|]*\*\*", glossary, re.MULTILINE), word
