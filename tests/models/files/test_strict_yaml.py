from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from models.files.strict_yaml import ConfigError, read, written


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    threshold: float = 0.9
    budget: int | None = 100
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}, must lie in (0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    colour: Colour = Colour.RED
    on: bool = False
    weights: Path = Path("weights")
    inner: Inner = field(default_factory=Inner)
    steps: tuple[Inner, ...] = ()


def write(directory: Path, text: str) -> Path:
    path = directory / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_values_of_every_kind_arrive_in_their_types(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: a\ncolour: blue\non: true\nweights: deep/file\n"
        "inner:\n  threshold: 1\n  budget: null\n  words: [Wait, 'Hmm']\nsteps:\n  - budget: 3\n  - {threshold: 0.5}\n",
    )
    assert read(path, Outer) == Outer(
        name="a",
        colour=Colour.BLUE,
        on=True,
        weights=tmp_path / "deep/file",
        inner=Inner(threshold=1.0, budget=None, words=("Wait", "Hmm")),
        steps=(Inner(budget=3), Inner(threshold=0.5)),
    )


def test_what_is_written_is_read_back_as_the_same(tmp_path: Path) -> None:
    config = Outer(
        name="ä: b",
        colour=Colour.BLUE,
        weights=tmp_path / "deep/file",
        inner=Inner(threshold=1e-5, budget=None, words=("Wait", "no")),
        steps=(Inner(budget=3), Inner()),
    )
    assert read(write(tmp_path, written(config)), Outer) == config
    assert written(Outer(name="a", colour=Colour.BLUE)) == "name: a\ncolour: blue\n"  # without what is at its default


def test_keys_left_out_keep_their_defaults(tmp_path: Path) -> None:
    assert read(write(tmp_path, "name: a\n"), Outer) == Outer(name="a")
    assert read(write(tmp_path, "# nothing\n"), Inner) == Inner()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("name: a\ncolur: red\n", 2, "unknown key `colur`; did you mean `colour`?"),
        (
            "name: a\ninner:\n  budget: 1\n  treshold: 0.5\n",
            4,
            "unknown key `inner.treshold`; did you mean `threshold`?",
        ),
        ("name: a\nzzz: 1\n", 2, "unknown key `zzz`; known keys: name, colour"),
        ("name: a\nsteps:\n  - budget: 1\n  - bugdet: 2\n", 4, "unknown key `steps[1].bugdet`; did you mean `budget`?"),
        ("name: a\non: true\non: false\n", 3, "`on` is given twice"),
        ("name: a\ninner:\n  budget: 1.5\n", 3, "`inner.budget` is '1.5', must be of type int"),
        ("name: a\ninner:\n  budget: true\n", 3, "`inner.budget` is 'true', must be of type int"),
        ("name: 3\n", 1, "`name` is '3', must be of type str"),
        ("name: a\non: 1\n", 2, "`on` is '1', must be of type bool"),
        ("name: a\ncolour: green\n", 2, "`colour` is 'green', must be one of red, blue"),
        ("name: a\ninner: 3\n", 2, "`inner` must be a mapping of keys to values"),
        ("name: a\ninner:\n  words: Wait\n", 3, "`inner.words` must be a list"),
        ("name: a\ninner:\n  words: [Wait, 3]\n", 3, "`inner.words[1]` is '3', must be of type str"),
        ("name: [a]\n", 1, "`name` is a sequence, must be of type str"),
        ("name: a\ninner:\n  threshold: 2.0\n", 3, "`inner`: threshold is 2.0, must lie in (0, 1]"),
        ("on: true\n", 1, "`name` is missing"),
        ("- a\n", 1, "`the file` must be a mapping of keys to values"),
        ("name: a\n  b: c: d\n", 2, "is not YAML"),
        ("name: a\n---\nname: b\n", 2, "is not YAML"),
        ("name: 2024-13-45\n", 1, "`name`"),
        ("name: !!int many\n", 1, "`name`"),
        ("name: !secret a\n", 1, "`name`"),
        ("name: {a: b}\n", 1, "`name` is a mapping, must be of type str"),
        ("? [a, b]\n: c\n", 1, "unknown key"),
    ],
)
def test_anything_unexpected_is_named_with_file_line_and_key(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read(path, Outer)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert says in str(caught.value)


def test_an_empty_file_lacks_the_required_keys(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    with pytest.raises(ConfigError, match="`name` is missing") as caught:
        read(path, Outer)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: Käse\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read(path, Outer)


def test_a_file_with_control_characters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control.yaml"
    path.write_bytes(b"name: a\x00b\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        read(path, Outer)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        read(path, Outer)
    assert str(path) in str(caught.value)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path, Outer)
