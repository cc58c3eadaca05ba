"""Who may use the server: bearer keys in a YAML file, which is reread when it changes.

keys:
  - {name: alice, key: sk-…, weight: 2}
  - {name: batch, sha256: 9f86d0…, weight: 0.5}
  - {name: operator, key: sk-…, admin: true}

No error shows anything that the file holds but numbers: any text in it may be a secret in the wrong place.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from laser.server.api.errors import Unauthorized
from models.files.checks import one_line, positive
from models.files.strict_yaml import read
from models.files.watched import WatchedFile

log = logging.getLogger(__name__)

LOOK_S = 1.0  # between two checks of the file
LEAST = 8  # characters of a key
VISIBLE = re.compile("[!-~]+")  # what clients can send in a header, and servers read alike
SECRET = re.compile("sk[-_].*|[0-9a-fA-F]{32,}")  # what is a secret or its hash, and no name
EXAMPLE = "change-me"  # prefix of the keys in configs/keys.yaml, which is published


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key; the file has either the secret or its SHA-256."""

    name: str  # who the key is for, as logs and the queue show it
    key: str | None = field(default=None, repr=False)  # the secret, blanks around it aside; None: sha256 is given
    sha256: str | None = field(default=None, repr=False)  # of the secret, hexadecimal; None: key is given
    weight: float = 1.0  # relative share of the server while several keys compete
    admin: bool = False  # may end the thoughts of other keys' requests

    def __post_init__(self) -> None:
        one_line(self, "name")
        if SECRET.fullmatch(self.name):
            raise ValueError("name looks like a secret, and names are shown in logs and metrics: must be another")
        if (self.key is None) == (self.sha256 is None):
            raise ValueError("must have either key or sha256")
        if self.key is not None:
            _check_secret(self.key.strip())
        if self.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", self.sha256.strip()):
            raise ValueError("sha256 must be 64 hexadecimal digits")
        positive(self, "weight")

    @property
    def digest(self) -> str:
        """The secret's SHA-256."""
        return _digest(self.key.strip()) if self.key is not None else str(self.sha256).strip().lower()


def _check_secret(key: str) -> None:
    if len(key) < LEAST:
        raise ValueError(f"key has {len(key)} characters, must be at least {LEAST}")
    if not VISIBLE.fullmatch(key):
        raise ValueError("key has a blank, a line end or a letter that is not ASCII, which clients cannot send")
    if key.startswith(EXAMPLE):
        raise ValueError("key is an example that everybody knows, must be one of your own")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """The content of the file."""

    keys: tuple[ApiKey, ...]  # every key that may be used, at least one

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("keys has 0 entries, must have at least 1")
        digests: dict[str, int] = {}
        for place, key in enumerate(self.keys):
            if digests.setdefault(key.digest, place) != place:
                raise ValueError(f"keys[{digests[key.digest]}] and keys[{place}] are the same key, must differ")
        names: dict[str, int] = {}
        for place, key in enumerate(self.keys):
            if names.setdefault(key.name, place) != place:
                raise ValueError(f"keys[{names[key.name]}] and keys[{place}] have the same name, must differ")
            if _digest(key.name) in digests:
                raise ValueError(f"the name of keys[{place}] is a secret of this file, must be another")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The sender of a request, by its key."""

    name: str = ""
    weight: float = 1.0
    admin: bool = False


ANYBODY = Caller(admin=True)  # every caller, if no keys are needed
Callers = tuple[tuple[str, Caller], ...]  # with the digests of their secrets


def on_a_thread(work: Callable[[], None]) -> None:
    """Does the work on a thread of its own, which does not keep the process alive."""
    threading.Thread(target=work, name="keys", daemon=True).start()


class KeyRing:
    """The keys in force. If the file becomes invalid, the former keys stay."""

    def __init__(
        self, path: Path | None, clock: Callable[[], float], start: Callable[[Callable[[], None]], None] = on_a_thread
    ) -> None:
        """`path` None: no key is needed. `start` begins the reading of a changed file; the former keys stay until then.

        Raises ConfigError if the file is invalid now.
        """
        self._clock = clock
        self._start = start
        self._looked_s = clock()
        self._reading = False
        self._file = None if path is None else WatchedFile(path, _callers)

    def caller(self, authorization: str | None) -> Caller:
        """Returns the sender by the `Authorization` header. Raises Unauthorized if the key is missing or unknown."""
        if self._file is None:
            return ANYBODY
        self.look()
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Unauthorized("a key is needed: send the header `Authorization: Bearer <key>` or `x-api-key: <key>`")
        given, found = _digest(secret.strip()), None
        for digest, caller in self._file.content:  # compares all: the time does not reveal which one matched
            if hmac.compare_digest(given, digest):
                found = caller
        if found is None:
            raise Unauthorized("the key is not known here")
        return found

    async def watch(self) -> None:
        """Looks at the file again and again, so that a key that was taken out is refused though no request comes."""
        while self._file is not None:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Has the file read if it has changed, on a thread; looks at most once every LOOK_S."""
        file = self._file
        if file is None or self._reading or self._clock() - self._looked_s < LOOK_S:
            return
        self._looked_s = self._clock()
        if file.has_changed:
            self._reading = True
            self._start(lambda: self._read(file))

    def _read(self, file: WatchedFile[Callers]) -> None:
        try:
            file.refresh()
        finally:
            self._reading = False
        if file.error is not None:
            log.error("the former keys stay in force: %s", file.error)
        else:
            log.info("%d keys are in force", len(file.content))


def _callers(path: Path) -> Callers:
    keys = read(path, KeyFile, secret=True).keys
    return tuple((key.digest, Caller(name=key.name, weight=key.weight, admin=key.admin)) for key in keys)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
