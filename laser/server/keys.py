"""Who may use the server: bearer keys in a YAML file, which is reread when it changes.

keys:
  - {name: alice, key: sk-…, weight: 2}
  - {name: batch, sha256: 9f86d0…, weight: 0.5}
  - {name: operator, key: sk-…, admin: true}
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from laser.server.api.errors import Unauthorized
from models.files.strict_yaml import read
from models.files.watched import WatchedFile

log = logging.getLogger(__name__)

LOOK_S = 1.0  # between two checks of the file
LEAST = 8  # characters of a key
EXAMPLE = "change-me"  # prefix of the keys in configs/keys.yaml, which is published


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key; the file has either the secret or its SHA-256."""

    name: str
    key: str | None = None  # the secret; None: sha256 is given
    sha256: str | None = None  # of the secret, hexadecimal; None: key is given
    weight: float = 1.0  # relative share of the server while several keys compete
    admin: bool = False  # may end the thoughts of other keys' requests

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is empty, must have at least 1 character")
        if (self.key is None) == (self.sha256 is None):
            raise ValueError(f"{self.name!r} must have either key or sha256")
        if self.key is not None and len(self.key) < LEAST:
            raise ValueError(f"the key of {self.name!r} has {len(self.key)} characters, must be at least {LEAST}")
        if self.key is not None and self.key.startswith(EXAMPLE):
            raise ValueError(f"the key of {self.name!r} is an example that everybody knows, must be one of your own")
        if self.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise ValueError(f"sha256 of {self.name!r} must be 64 hexadecimal digits")
        if not (math.isfinite(self.weight) and self.weight > 0.0):
            raise ValueError(f"weight of {self.name!r} is {self.weight}, must be finite and above 0")

    @property
    def digest(self) -> str:
        """The secret's SHA-256."""
        return _digest(self.key) if self.key is not None else str(self.sha256).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """The content of the file."""

    keys: tuple[ApiKey, ...]

    def __post_init__(self) -> None:
        names, digests = [key.name for key in self.keys], [key.digest for key in self.keys]
        if not self.keys:
            raise ValueError("keys has 0 entries, must have at least 1")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"there are {names.count(twice)} keys named {twice!r}, may be 1")
        if len(set(digests)) < len(digests):
            raise ValueError("two keys are the same")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The sender of a request, by its key."""

    name: str = ""
    weight: float = 1.0
    admin: bool = False


ANYBODY = Caller(admin=True)  # every caller, if no keys are needed
Callers = tuple[tuple[str, Caller], ...]  # with the digests of their secrets


class KeyRing:
    """The keys in force. If the file becomes invalid, the former keys stay."""

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        """`path` None: no key is needed. Raises ConfigError if the file is invalid now."""
        self._clock = clock
        self._looked_s = clock()
        self._file = None if path is None else WatchedFile(path, _callers)

    def caller(self, authorization: str | None) -> Caller:
        """Returns the sender by the `Authorization` header. Raises Unauthorized if the key is missing or unknown."""
        if self._file is None:
            return ANYBODY
        self._refresh(self._file)
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Unauthorized("a key is needed: send the header `Authorization: Bearer <key>`")
        given, found = _digest(secret.strip()), None
        for digest, caller in self._file.content:  # compares all: the time does not reveal which one matched
            if hmac.compare_digest(given, digest):
                found = caller
        if found is None:
            raise Unauthorized("the key is not known here")
        return found

    def _refresh(self, file: WatchedFile[Callers]) -> None:
        if self._clock() - self._looked_s < LOOK_S:
            return
        self._looked_s = self._clock()
        if not file.refresh():
            return
        if file.error is not None:
            log.error("the former keys stay in force: %s", file.error)
        else:
            log.info("%d keys are in force", len(file.content))


def _callers(path: Path) -> Callers:
    keys = read(path, KeyFile).keys
    return tuple((key.digest, Caller(name=key.name, weight=key.weight, admin=key.admin)) for key in keys)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
