"""YAML as we read it: numbers of version 1.2, any nonsense one clear error, and nothing shown of what is secret."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.files.strict_yaml import ConfigError, parse, read, written
from tests.support.damages import YAML_DAMAGES
from tests.support.engine_requests import search


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    name: str = "a"
    share: float = 1.0
    count: int = 1
    on: bool = False
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e1", 10.0), ("1.0e1", 10.0), ("0.9e0", 0.9), ("1e-3", 1e-3), ("1E+2", 100.0), (".5e1", 5.0), ("5.", 5.0),
        ("-1e1", -10.0), ("3", 3.0), ("+3", 3.0), (".5", 0.5), ("1_000.5", 1000.5), ("010", 10.0), ("0x10", 16.0),
    ],
)  # fmt: skip
def test_floats_are_spelled_as_in_yaml_1_2(text: str, value: float) -> None:
    assert parse(text, float, key="share") == value


@pytest.mark.parametrize(
    ("text", "value"), [("010", 10), ("0o10", 8), ("0x1F", 31), ("1_000", 1000), ("-7", -7), ("+7", 7), ("0", 0)]
)
def test_whole_numbers_are_spelled_as_in_yaml_1_2(text: str, value: int) -> None:
    assert parse(text, int, key="count") == value


@pytest.mark.parametrize("text", ["1:30", "1e1", "0b11", "1.5", "true", "'1'", "~", "9" * 5_000])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="`count`") as refused:
        parse(text, int, key="count")
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("text", ["1e400", "-1e400", "9" * 400])
def test_a_number_beyond_all_floats_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"`share` is '.*', which is too large a number"):
        parse(text, float, key="share")


@pytest.mark.parametrize(("text", "told"), [('"\\ud83d"', "half a surrogate pair"), ('"a\\0b"', "a character NUL")])
def test_texts_that_no_file_can_hold_are_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse(text, str, key="name")


@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
@search(60)
def test_any_text_that_is_written_is_read_back(name: str) -> None:
    assert parse(written(Settings(name=name, names=(name,))), Settings, key="") == Settings(name=name, names=(name,))


@pytest.mark.parametrize("name", ["1e1", "010", "0o10", "1:30", "yes", "~", "1_000", ".inf", "2024-01-01", "0x1", ""])
def test_a_text_that_looks_like_something_else_is_read_back(name: str) -> None:
    assert parse(written(Settings(name=name)), Settings, key="") == Settings(name=name)


@pytest.mark.parametrize("damage", YAML_DAMAGES.values(), ids=YAML_DAMAGES)
@pytest.mark.parametrize("secret", [False, True])
def test_nonsense_is_one_clear_error_in_little_time(tmp_path: Path, damage: bytes, secret: bool) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(damage)
    began = time.process_time()
    with pytest.raises(ConfigError) as refused:
        read(file, Settings, secret=secret)
    assert time.process_time() - began < 3.0
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)
    assert len(refused.value.lines) < 22
    assert all(line.startswith(str(file)) and len(line) < 600 for line in refused.value.lines)


@given(damage=st.one_of(st.binary(), st.text("[]{}:-?!&*|>'\"%@`#, \t\nab01.eE_\u2028").map(str.encode)))
@search(100)
def test_any_bytes_are_settings_or_one_clear_error(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(damage)
    found, told = Settings(), str(file)
    try:
        found = read(file, Settings)
    except ConfigError as refused:
        told = str(refused)
    assert told.startswith(str(file))
    assert isinstance(found, Settings)


@pytest.mark.slow
def test_many_values_by_few_words_are_refused(tmp_path: Path) -> None:
    """An alias may stand for a list of aliases, but no more values than any honest file has."""
    file = tmp_path / "settings.yaml"
    file.write_text("names: &a [x, x]\n")
    assert read(file, Settings).names == ("x", "x")
    many = ", ".join(["*a"] * 500)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Many:
        all: tuple[Settings, ...]

    file.write_text(f"all: [&a {{names: [{'x, ' * 999}x]}}, {many}]\n")
    with pytest.raises(ConfigError, match="stands for more than 200000 values"):
        read(file, Many)
