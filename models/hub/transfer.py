"""Brings one file from a hub into its cache: goes on where an earlier run or a cut connection stopped, checks the hash.

huggingface_hub itself begins a file anew in every run and compares sizes only; models are large, and networks are cut.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import httpx2
from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status

from models.hub.name import ModelName
from models.hub.problems import HubError, UnreachableError, disk_trouble, told_as
from models.hub.sizes import in_bytes

CHUNK = 1 << 20  # bytes
TIMEOUT_S = 30.0  # without a byte

_SHA256, _SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository, as the hub lists it."""

    path: str  # in the repository
    size: int  # bytes
    digest: str  # SHA-256 of a large file; of others what git calls it by: SHA-1 of a head and the content

    @property
    def whole(self) -> bool:
        """Whether size and hash are such; the hash becomes a path."""
        return self.size >= 0 and bool(_SHA256.fullmatch(self.digest) or _SHA1.fullmatch(self.digest))

    @property
    def within(self) -> bool:
        """Whether the path stays in the repository's directory, under which it is shown."""
        path = PurePosixPath(self.path)
        return not path.is_absolute() and ".." not in path.parts and "\\" not in self.path

    def complete(self, path: Path) -> bool:
        """Whether the file is at `path`; of a large one the size is looked at, too."""
        return path.is_file() and (len(self.digest) == 40 or path.stat().st_size == self.size)

    def hash(self) -> Any:
        """Returns the beginning of the file's hash, an object of hashlib."""
        if len(self.digest) == 64:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a hub that fails is asked again."""

    waits_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # before each further try since the last byte
    longest_s: float = 120.0  # that a hub may ask to wait
    sleep: Callable[[float], None] = time.sleep

    def wait(self, tries: int, error: HubError) -> bool:
        """Waits before another try, after `tries` failed ones since the last byte; returns False if there is none."""
        if not isinstance(error, UnreachableError) or tries > len(self.waits_s):
            return False
        asked_s = error.wait_s or 0.0
        if asked_s > self.longest_s:
            return False
        self.sleep(max(self.waits_s[tries - 1], asked_s))
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Where files come from, and who is told of them."""

    name: ModelName
    commit: str
    endpoint: str
    shown: str  # the endpoint as messages tell it
    token: str | None
    headers: dict[str, str]  # of every request; the token is in them
    cache: Path
    patience: Patience
    advance: Callable[[int], None]  # told how many bytes have come; below 0: were thrown away
    note: Callable[[str], None]  # told what is tried again

    def bring(self, file: HubFile, target: Path) -> None:
        """Fetches a file to `target`, through a part beside it, which stays for the next run if this one ends early.

        Raises HubError.
        """
        part = part_of(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            resumed = held(target, file) > 0
            if not (self._fetched(file, part) or (resumed and self._fetched(file, part))):
                raise HubError(
                    f"{self.name}: {file.path} has come with another content than the hub says (its hash is not "
                    f"{file.digest[:12]}…) and is thrown away: run again; if it stays so, a proxy or the file there is "
                    "damaged"
                )
            part.rename(target)
        except OSError as error:
            raise disk_trouble(error, self.name, self.cache) from error

    def _fetched(self, file: HubFile, path: Path) -> bool:
        """Completes the part at `path`; returns whether its content is right, and throws it away otherwise."""
        with path.open("ab+") as out:
            part = _Part(file, out)
            tries = 0
            while part.size < file.size:
                before = part.size
                error = self._stream(file, part)
                tries = 1 if part.size > before else tries + 1
                if error is not None:
                    self._again(file, part, tries, error)
            right: bool = part.size == file.size and part.hash.hexdigest() == file.digest
        if not right:
            path.unlink()
            self.advance(-part.size)
        return right

    def _again(self, file: HubFile, part: _Part, tries: int, error: HubError) -> None:
        """Waits before another try. Raises the error if there is none."""
        if not isinstance(error, UnreachableError):
            raise error
        at = f"{file.path}, {in_bytes(part.size)} of {in_bytes(file.size)}"
        if tries == 1:
            self.note(f"{at}: {error}; goes on from there")
        if not self.patience.wait(tries, error):
            raise UnreachableError(f"{self.name}: {at}: {error}; run again to go on from there", wait_s=error.wait_s)

    def _stream(self, file: HubFile, part: _Part) -> HubError | None:
        """Reads from the hub into a part until the file or the connection ends; returns what was wrong with the latter.

        It reads no further than one piece beyond the file's size.
        """
        url = hf_hub_url(self.name.repository, file.path, revision=self.commit, endpoint=self.endpoint)
        headers = {**self.headers, "Accept-Encoding": "identity"}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
        try:
            with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as response:
                hf_raise_for_status(response)
                if part.size and response.status_code != httpx2.codes.PARTIAL_CONTENT:  # Range is not known there
                    self.advance(-part.size)
                    part.restart()
                for chunk in response.iter_bytes():
                    part.add(chunk)
                    self.advance(len(chunk))
                    if part.size > file.size:
                        return None
        except httpx2.HTTPError as error:
            return told_as(error, self.name, self.shown, self.token)
        return UnreachableError(f"{self.shown} has ended it early") if part.size < file.size else None


class _Part:
    """What has come of a file, and its hash so far."""

    def __init__(self, file: HubFile, out: BinaryIO) -> None:
        """`out`: opened for reading and appending; what it holds is hashed, unless it is too long."""
        self._file = file
        self._out = out
        self.size = 0
        self.hash = file.hash()
        out.seek(0)
        while chunk := out.read(CHUNK):
            self.hash.update(chunk)
            self.size += len(chunk)
        if self.size > file.size:
            self.restart()

    def add(self, chunk: bytes) -> None:
        self._out.write(chunk)
        self.hash.update(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        self._out.truncate(0)
        self.size = 0
        self.hash = self._file.hash()


def part_of(target: Path) -> Path:
    """Returns the path of the part of a file that is fetched to `target`."""
    return target.with_name(f"{target.name}.incomplete")


def held(target: Path, file: HubFile) -> int:
    """Returns the bytes of a file that are on this disk: of it, or of a part."""
    if file.complete(target):
        return file.size
    part = part_of(target)
    size = part.stat().st_size if part.is_file() else 0
    return size if size <= file.size else 0
