"""One reader of JSON files: size and depth are bounded, and an error names the file and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 64 << 20
DEEPEST = 64  # lists and objects within one another
SHOWN = 60  # characters of a value that an error shows

_BOM = b"\xef\xbb\xbf"
_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}


def read_object(path: Path, error: type[Exception], *, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Returns the JSON object in a file. Raises `error` if the file cannot be read or holds anything else."""
    said = read_json(path, error, most_bytes=most_bytes)
    if not isinstance(said, dict):
        raise error(f"{path}: is {named(said)}, must be a JSON object")
    return said


def read_json(path: Path, error: type[Exception], *, most_bytes: int = MOST_BYTES, marked: bool = False) -> Any:
    """Returns the JSON value in a file; `marked`: a byte order mark may stand before it.

    Raises `error` if the file cannot be read, has more than `most_bytes` bytes, is no UTF-8 or no JSON, or is nested
    deeper than DEEPEST.
    """
    text = read_plain(path, error, most_bytes=most_bytes, marked=marked)
    if not text.strip():
        raise error(f"{path}: is not JSON, or only a part of it: it is empty")
    try:
        said = json.loads(text)
    except RecursionError:
        raise error(f"{path}: is nested too deeply, at most {DEEPEST} levels are read") from None
    except json.JSONDecodeError as problem:
        raise error(f"{path}: is not JSON, or only a part of it: {problem}") from problem
    except ValueError as problem:  # Python reads whole numbers of at most some thousand digits
        raise error(f"{path}: holds a number with too many digits") from problem
    _check_depth(path, said, error)
    return said


def read_plain(path: Path, error: type[Exception], *, most_bytes: int = MOST_BYTES, marked: bool = False) -> str:
    """Returns the text of a file without the byte order mark that it may begin with if it may be `marked`.

    Raises `error` if the file cannot be read, is too large or is no UTF-8. Other libraries read the same files, and
    take neither such a mark nor gzip: `models.files.text` is for files that LASER alone reads.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(most_bytes + 1)
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from problem
    if len(raw) > most_bytes:
        raise error(f"{path}: has more than {most_bytes} bytes, the most that is read")
    if marked:
        raw = raw.removeprefix(_BOM)
    elif raw.startswith(_BOM):
        raise error(f"{path}: begins with a byte order mark, must be UTF-8 without one")
    try:
        return raw.decode()
    except UnicodeDecodeError as problem:
        raise error(f"{path}: is not UTF-8: {problem.reason} at byte {problem.start}") from problem


def named(value: object) -> str:
    """Returns what kind of JSON value this is, in words."""
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def shown(value: object) -> str:
    """Returns a value as an error shows it: printable, in one line, and cut at SHOWN characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # ValueError: of a whole number with thousands of digits
        return named(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _check_depth(path: Path, said: Any, error: type[Exception]) -> None:
    level = [said]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise error(f"{path}: is nested too deeply, at most {DEEPEST} levels are read")
