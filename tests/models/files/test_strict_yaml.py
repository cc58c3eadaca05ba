from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shorter:
    SHORT: ClassVar[dict[str, str]] = {"int": "count", "str": "files", "seq": "files"}

    files: tuple[Path, ...] = ()
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    one: Shorter = field(default_factory=Shorter)


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
    assert re.match(rf"{re.escape(str(path))}:{line}:\d+: ", str(caught.value))
    assert says in str(caught.value)


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "nam: a\ncolour: bleu\non: maybe\ninner:\n  budget: many\n  threshold: 2\n"
        "steps:\n  - {threshold: 3}\n  - {}\n  - {budget: 1.5, bugdet: 2}\n",
    )
    with pytest.raises(ConfigError) as caught:
        read(path, Outer)
    assert [line.removeprefix(f"{path}:") for line in caught.value.lines] == [
        "1:1: unknown key `nam`; did you mean `name`?",
        "2:9: `colour` is 'bleu', must be one of red, blue; did you mean `blue`?",
        "3:5: `on` is 'maybe', must be of type bool",
        "5:11: `inner.budget` is 'many', must be of type int",
        "6:3: `inner`: threshold is 2.0, must lie in (0, 1]",
        "8:6: `steps[0]`: threshold is 3.0, must lie in (0, 1]",
        "10:14: `steps[2].budget` is '1.5', must be of type int",
        "10:19: unknown key `steps[2].bugdet`; did you mean `budget`?",
    ]
    assert str(caught.value).count("; ") == 7 + 3  # in one line for logs; three suggest a name


def test_a_dataclass_tells_all_that_it_minds_and_nothing_that_hangs_on_another_fault(tmp_path: Path) -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Span:
        low: float = 0.0
        high: float = 1.0
        share: float = 0.5

        def __post_init__(self) -> None:
            for name in ("low", "high"):
                if getattr(self, name) < 0.0:
                    raise ValueError(f"{name} is {getattr(self, name)}, must be at least 0")
            if self.low > self.high:
                raise ValueError(f"low is {self.low}, must be at most high, {self.high}")
            if self.share > 1.0:
                raise ValueError(f"share is {self.share}, must be at most 1")

    def told(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(write(tmp_path, text), Span)
        return [line.rpartition("yaml:")[2] for line in caught.value.lines]

    assert told("low: -1\nhigh: -2\nshare: 3\n") == [
        "1:1: low is -1.0, must be at least 0",
        "2:1: high is -2.0, must be at least 0",
        "3:1: share is 3.0, must be at most 1",
    ]
    assert told("low: 5\nhigh: -2\nshare: 3\n") == ["2:1: high is -2.0, must be at least 0"]
    assert told("low: 5\nshare: 3\n")[0] == "1:1: low is 5.0, must be at most high, 1.0"


def test_a_file_full_of_faults_tells_some_and_counts_the_others(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\nsteps:\n" + "  - {budget: no}\n" * 50)
    with pytest.raises(ConfigError) as caught:
        read(path, Outer)
    assert len(caught.value.lines) == 21
    assert caught.value.lines[-1] == f"{path}: has 30 faults more"


def test_a_shorter_form_stands_for_the_field_that_the_class_names(tmp_path: Path) -> None:
    def found(text: str) -> Shorter:
        return read(write(tmp_path, text), Holder).one

    assert found("one: 7") == Shorter(count=7)
    assert found("one: a.jsonl") == Shorter(files=(tmp_path / "a.jsonl",))
    assert found("one: [a, b]") == Shorter(files=(tmp_path / "a", tmp_path / "b"))
    assert found("one: {files: [a], count: 7}") == Shorter(files=(tmp_path / "a",), count=7)
    with pytest.raises(ConfigError, match=r":1:10: `one\.files\[1\]` is '3', must be of type Path"):
        found("one: [a, 3]")


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
