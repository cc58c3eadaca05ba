"""JSON files of ours: a head that states format and version, contents that are read strictly into a dataclass.

An envelope is one JSON object with a head, the sha256 of its payload and the payload. JSON Lines have the head in their
first line. Whatever a reader does not expect is an error that names the place, the value found and the value expected.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeGuard, TypeVar

from pydantic import TypeAdapter, ValidationError

from models.files.json_file import read_json, shown
from models.files.replacement import replacing

T = TypeVar("T")

_TYPES = {"int_type": "int", "float_type": "float", "string_type": "str", "bool_type": "bool", "dict_type": "dict"}
_LISTS = frozenset({"tuple_type", "too_long"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The format and version that a file states."""

    format: str  # kind of the file, such as laser-profile
    version: int  # version of the format

    def opens(self, said: object) -> TypeGuard[dict[str, Any]]:
        """Whether a decoded file or first line states this format and version."""
        return isinstance(said, dict) and (said.get("format"), said.get("version")) == (self.format, self.version)


class StrictJson(Generic[T]):
    """Reads JSON into the dataclass `into`: every key must be known, every value of its declared type."""

    def __init__(self, into: type[T], name: str) -> None:
        """`name`: how errors call the value that is read."""
        self._adapter = TypeAdapter(into)
        self._name = name

    def __call__(self, text: str | bytes) -> T:
        """Returns the value in a JSON text. Raises ValueError if the text does not fit; the message names the place."""
        try:
            return self._adapter.validate_json(text, strict=True, extra="forbid")
        except ValidationError as error:
            first: Any = error.errors(include_url=False)[0]
            raise ValueError(self._told(first, text)) from error

    def _told(self, error: dict[str, Any], text: str | bytes) -> str:
        kind, place, found = error["type"], error["loc"], error["input"]
        if kind == "value_error":  # of a class's own check, whose message says what it is about
            return str(error["ctx"]["error"])
        if kind == "json_invalid":
            return f"{self._name} is not JSON: {error['ctx']['error']}"
        if kind == "missing" and isinstance(place[-1], int):
            kind, place = "too_long", place[:-1]
        if kind == "missing":
            return f"{self._place(place[:-1])} is {_keys(found)}, must have {place[-1]}"
        if kind == "unexpected_keyword_argument":
            around = json.loads(text)
            for step in place[:-1]:
                around = around[step]
            return f"{self._place(place[:-1])} is {_keys(around)}, must not have {place[-1]}"
        if kind in _LISTS:
            return f"{self._place(place)} is {repr(found)[:40]}, must be a list of the right length"
        if kind in _TYPES:
            return f"{self._place(place)} is {repr(found)[:40]}, must be of type {_TYPES[kind]}"
        return f"{self._place(place)} is {repr(found)[:40]}: {error['msg']}"

    def _place(self, steps: Sequence[str | int]) -> str:
        return self._name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope(Generic[T]):
    """A kind of file that holds one dataclass `into` under the key `key`, sealed by a checksum."""

    head: Head
    key: str
    into: type[T]
    made_by: str  # the command that makes such a file anew
    error: type[ValueError]  # raised for files that cannot be used; its message names the file
    said: Callable[[T], dict[str, Any]] = asdict  # type: ignore[assignment]  # T is a dataclass; no bound says so

    def write(self, path: Path, payload: T) -> None:
        """Writes the file, whole or not at all."""
        said = self.said(payload)
        sealed = {**asdict(self.head), "sha256": sha256_of(said), self.key: said}
        with replacing(path) as draft:
            draft.write_text(json.dumps(sealed, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")

    def read(self, path: Path) -> T:
        """Returns what the file holds. Raises `error` if it is missing, damaged, of another format or version."""
        said = read_json(path, self.error, marked=True)
        if not isinstance(said, dict) or said.get("format") != self.head.format:
            told = said.get("format") if isinstance(said, dict) else type(said).__name__
            raise self.error(f"{path}: format is {shown(told)}, must be {self.head.format!r}")
        if not self.head.opens(said):
            raise self.error(
                f"{path}: version is {shown(said.get('version'))}, must be {self.head.version}; run "
                f"`{self.made_by}` again"
            )
        if said.get("sha256") != sha256_of(said.get(self.key)):
            raise self.error(
                f"{path}: it was damaged or edited, its checksum is of other contents; run `{self.made_by}` again"
            )
        try:
            return StrictJson(self.into, self.key)(json.dumps(said.get(self.key)))
        except ValueError as error:
            raise self.error(f"{path}: {error}") from error


def sha256_of(value: object) -> str:
    """Returns the hash of a value that JSON can hold, of its text with sorted keys and no white space."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _keys(found: Any) -> str:
    return ", ".join(sorted(found)) if isinstance(found, dict) else repr(found)[:40]
