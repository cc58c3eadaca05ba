"""Text files that others wrote: UTF-8, with or without a byte order mark, plain or in gzip.

Any other encoding or packing is an error that names the file and what the file seems to be.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

GZIP = b"\x1f\x8b"
PACKED = {
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PK\x03\x04": "ZIP",
    b"PAR1": "Parquet",
    b"SQLite format 3": "SQLite",
}
"""How files begin that are no text, and their names."""
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""Byte order marks of other encodings; the longer ones first, because UTF-16's begins UTF-32's."""


@contextmanager
def reading(path: Path, error: type[Exception]) -> Iterator[TextIO]:
    """Yields a text file, open for reading; line ends stay as they are.

    Raises `error`, also in the block, if the file cannot be read or unpacked, or if it is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            packed = file.peek(2).startswith(GZIP)
            with gzip.open(file) if packed else file as plain:
                _check_kind(path, _peek(plain), error)
                with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
                    yield text
    except UnicodeDecodeError as fault:
        raise error(f"{path}: {_where_it_is_no_text(path)}") from fault
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise error(f"{path}: is not gzip, or only a part of it: {fault}") from fault
    except OSError as fault:
        raise error(f"{path}: cannot be read: {fault.strerror or fault}") from fault


def read_text(path: Path, error: type[Exception], most: int | None = None) -> str:
    """Returns the whole text of a file, with its line ends as they are.

    `most`: characters that the file may hold; None: any number. Raises `error` as `reading` does.
    """
    with reading(path, error) as file:
        text = file.read() if most is None else file.read(most + 1)
    if most is not None and len(text) > most:
        raise error(f"{path}: is longer than {most} characters, must be at most that")
    return text


def decode_json(text: str | bytes) -> Any:
    """Returns the value in a JSON text. Raises ValueError, also for what is nested too deep."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deep") from None


def json_objects(
    path: Path, lines: Iterable[str], error: type[Exception], wanted: str = "an object"
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the numbers and objects of JSON Lines; empty lines are passed over.

    Raises `error`, which names the file and the line, for a line that is not JSON, or is not what is `wanted`.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            said = decode_json(line)
        except ValueError as fault:
            raise error(f"{path}:{number}: is not JSON: {fault}") from fault
        if not isinstance(said, dict):
            raise error(f"{path}:{number}: is {line.strip()[:40]!r}, must be {wanted}")
        yield number, said


def unpacked(path: Path) -> Path:
    """Returns the path without the ending .gz."""
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


def _peek(file: Any) -> bytes:
    return bytes(file.peek(16)[:16])


def _check_kind(path: Path, begins: bytes, error: type[Exception]) -> None:
    for mark, encoding in MARKS.items():
        if begins.startswith(mark):
            raise error(f"{path}: is not UTF-8: it is {encoding}, must be UTF-8")
    if len(begins) > 1 and begins[0] and not begins[1] and b"\x00" in begins[2:]:
        raise error(f"{path}: is not UTF-8: it is UTF-16 without a byte order mark, must be UTF-8")
    if len(begins) > 1 and not begins[0] and begins[1]:
        raise error(f"{path}: is not UTF-8: it is UTF-16 without a byte order mark, must be UTF-8")
    for mark, name in PACKED.items():
        if begins.startswith(mark):
            raise error(f"{path}: is a {name} file, must be a text file, plain or in gzip")


def _where_it_is_no_text(path: Path) -> str:
    """Returns the line and byte at which a file is not UTF-8, and what it may be."""
    with path.open("rb") as file:
        packed = file.peek(2).startswith(GZIP)
        begun = 0
        with gzip.open(file) if packed else file as plain:
            for number, line in enumerate(plain, 1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as fault:
                    place = begun + fault.start
                    said = f"is not UTF-8: {fault.reason} at byte {place}, in line {number}"
                    return f"{said}; if it is Latin-1, as older editors write, convert it to UTF-8"
                begun += len(line)
    return "is not UTF-8"
