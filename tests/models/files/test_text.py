"""Text files of others: plain or in gzip, with or without a byte order mark; other encodings and packings are named."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from models.files.text import decode_json, read_text, reading, unpacked

TEXT = "a: Käse\nb: 2\r\n"


class TextError(Exception):
    pass


def written(directory: Path, content: bytes) -> Path:
    file = directory / "file"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_mark_and_gzip_change_nothing(tmp_path: Path, encoding: str, packed: bool) -> None:
    content = TEXT.encode(encoding)
    file = written(tmp_path, gzip.compress(content, mtime=0) if packed else content)
    assert read_text(file, TextError) == TEXT
    with reading(file, TextError) as lines:
        assert list(lines) == ["a: Käse\n", "b: 2\r\n"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (TEXT.encode("utf-16"), "is not UTF-8: it is UTF-16, must be UTF-8"),
        (TEXT.encode("utf-16-le"), "is not UTF-8: it is UTF-16 without a byte order mark"),
        (TEXT.encode("utf-16-be"), "is not UTF-8: it is UTF-16 without a byte order mark"),
        (TEXT.encode("utf-32"), "is not UTF-8: it is UTF-32, must be UTF-8"),
        (TEXT.encode("latin-1"), "at byte 4, in line 1; if it is Latin-1, as older editors write, convert it to UTF-8"),
        (gzip.compress(TEXT.encode("utf-16"), mtime=0), "is not UTF-8: it is UTF-16, must be UTF-8"),
        (gzip.compress(TEXT.encode("latin-1"), mtime=0), "at byte 4, in line 1; if it is Latin-1"),
        (gzip.compress(TEXT.encode() * 99, mtime=0)[:-12], "is not gzip, or only a part of it"),
        (b"\x1f\x8bnonsense", "is not gzip, or only a part of it"),
        (lzma.compress(TEXT.encode()), "is a xz file, must be a text file, plain or in gzip"),
        (bz2.compress(TEXT.encode()), "is a bzip2 file"),
        (b"PAR1" + bytes(9), "is a Parquet file"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(TextError) as refused:
        read_text(file, TextError)
    assert str(refused.value).startswith(f"{file}: ")
    assert told in str(refused.value)


def test_a_file_that_cannot_be_read_or_is_too_long_is_named(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"none: cannot be read: No such file"):
        read_text(tmp_path / "none", TextError)
    with pytest.raises(TextError, match="cannot be read: Is a directory"):
        read_text(tmp_path, TextError)
    bomb = written(tmp_path, gzip.compress(b"a" * 1_000_000, mtime=0))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(TextError, match="is longer than 1000 characters"):
        read_text(bomb, TextError, most=1_000)


def test_json_that_is_nested_too_deep_is_no_json() -> None:
    assert decode_json('{"a": [1]}') == {"a": [1]}
    for text in ("[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000, "", "nonsense", "9" * 5_000):
        with pytest.raises(ValueError, match=r"nested too deep|Expecting|limit"):
            decode_json(text)


def test_the_ending_of_gzip_is_left_out() -> None:
    assert [unpacked(Path(name)).name for name in ("a.csv.gz", "a.CSV.GZ", "a.csv", "gz")] == [
        "a.csv", "a.CSV", "a.csv", "gz",
    ]  # fmt: skip
