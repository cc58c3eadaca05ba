"""Stores trial results in a directory: one JSON Lines file per trial, a header and then one line per request.

A trial's lines go to a draft as its requests end. Once the last line is on the disk, the draft is renamed atomically: a
trial is stored whole or not at all, even if the run is killed, and never twice.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from experiments.request_record import RequestRecord
from models.errors import LaserError
from models.files.differing import told_apart
from models.files.envelope import Head, StrictJson
from models.files.replacement import told_of
from models.files.text import decode_json

HEAD = Head(format="laser-trial", version=1)
DRAFT = ".draft"


class StoreError(LaserError, ValueError):
    """The directory of results cannot be used; the message names the file and the fault."""


class RunningTrial:
    """Writes the records of a running trial as its requests end."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file = file
        self._path = path

    def add(self, record: RequestRecord) -> None:
        """Writes one request's line and flushes it, so that readers see it at once. Raises WriteError."""
        with told_of(self._path):
            self._file.write(_line(asdict(record)))
            self._file.flush()


class Store:
    """A directory of trials, each described by the inputs that determine its outcome."""

    def __init__(self, directory: Path) -> None:
        """Creates the directory if it does not exist. Raises StoreError if it cannot be created."""
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{directory}: cannot be made: {error.strerror}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the directory for one run. Raises StoreError if another run holds the lock."""
        with (self._directory / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until the file is closed or the process ends
            except BlockingIOError as error:
                raise StoreError(f"{self._directory}: another run is writing there") from error
            yield

    def has(self, slug: str, description: Mapping[str, Any]) -> bool:
        """Whether the trial is complete. Raises StoreError if its file is damaged or has another description."""
        path = self._path(slug)
        if not path.exists():
            return False
        self._check(path, _header(path), description)
        return True

    @contextmanager
    def writing(self, slug: str, description: Mapping[str, Any], origin: Mapping[str, Any]) -> Iterator[RunningTrial]:
        """Writes a trial, which is complete when the block ends without an error; `origin`: machine, date, versions."""
        path = self._path(slug)
        draft = path.with_name(path.name + DRAFT)
        header = {**asdict(HEAD), "trial": description, "origin": origin}
        file = draft.open("w", encoding="utf-8")
        try:
            with told_of(draft):
                file.write(_line(header))
            yield RunningTrial(file, draft)
            with told_of(draft):
                file.flush()
                os.fsync(file.fileno())
        finally:
            with suppress(OSError):  # what a full disk left in the buffer; that has been told
                file.close()
        draft.replace(path)
        _sync(self._directory)

    def read(self, slug: str, description: Mapping[str, Any]) -> list[RequestRecord]:
        """Returns a complete trial's records in order of arrival.

        Raises StoreError if its file is missing, damaged or has another description.
        """
        path = self._path(slug)
        self._check(path, _header(path), description)
        records = []
        decode = StrictJson(RequestRecord, "line")
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number > 1:
                    try:
                        records.append(decode(line))
                    except ValueError as error:
                        raise StoreError(f"{path}:{number}: is no request of a trial: {error}") from error
        return sorted(records, key=lambda record: record.number)

    def origin(self, slug: str) -> dict[str, Any]:
        """Returns the machine, date and versions of a complete trial."""
        found: dict[str, Any] = _header(self._path(slug))["origin"]
        return found

    def _path(self, slug: str) -> Path:
        return self._directory / f"{slug}.jsonl"

    def _check(self, path: Path, header: Mapping[str, Any], description: Mapping[str, Any]) -> None:
        for key, ours in json.loads(json.dumps(description)).items():
            theirs = header["trial"].get(key)
            if _given(theirs) != _given(ours):
                difference = told_apart(key, theirs, ours, holder="the experiment")
                raise StoreError(f"{path}: was run with {difference}: remove it or write elsewhere")


def _given(value: Any) -> Any:
    """Removes settings that are None: older versions may not have had them."""
    return {name: each for name, each in value.items() if each is not None} if isinstance(value, dict) else value


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            header = decode_json(file.readline())
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StoreError(f"{path}:1: is no header of a trial: {error}") from error
    if not HEAD.opens(header):
        raise StoreError(f"{path}:1: is no header of a {HEAD.format} of version {HEAD.version}")
    for part in ("trial", "origin"):
        if not isinstance(header.get(part), dict):
            raise StoreError(f"{path}:1: `{part}` is {_said(header.get(part))[:40]}, must be an object")
    return header


def _line(said: Mapping[str, Any]) -> str:
    return json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _said(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:200]


def _sync(directory: Path) -> None:
    """Syncs the directory, so that the new name is on the disk, too."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
