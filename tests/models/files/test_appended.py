"""Files that grow by lines: a torn last line spoils no other, and a line without room is taken back."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from models.files.appended import append_line, drop_torn_line


def append(file: Path, line: bytes) -> None:
    with file.open("a+b", buffering=0) as opened:
        append_line(opened, line)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"new\n"),
        (b"one\n", b"one\nnew\n"),
        (b"one\nto", b"one\nto\nnew\n"),
        (b"o", b"o\nnew\n"),
        (b"\n", b"\nnew\n"),
    ],
)
def test_a_line_begins_on_a_line_of_its_own(tmp_path: Path, before: bytes, after: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(before)
    append(file, b"new\n")
    assert file.read_bytes() == after


def test_a_line_without_room_is_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one\nto")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9, limits[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            append(file, b"a longer line\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == b"one\nto"


def test_a_pipe_is_written_straight() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as end, os.fdopen(writer, "wb", buffering=0) as pipe:
        append_line(pipe, b"line\n")
        assert end.readline() == b"line\n"


@pytest.mark.parametrize(
    ("before", "line", "after"),
    [(b"", 0, b""), (b"a\n", 0, b"a\n"), (b"a\nb\nc", 3, b"a\nb\n"), (b"c", 1, b""), (b"\n\n{", 3, b"\n\n")],
)
def test_a_torn_line_is_dropped_and_numbered(tmp_path: Path, before: bytes, line: int, after: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(before)
    assert drop_torn_line(file) == line
    assert file.read_bytes() == after
    assert drop_torn_line(tmp_path / "none") == 0
