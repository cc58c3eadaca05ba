"""A file that may change while we run: read again when it has changed, and kept as it was while it is bad."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from models.files.strict_yaml import ConfigError

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """The content of a file; if the file becomes invalid, the former content stays in force."""

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        """`read` returns the content or raises ConfigError; raises ConfigError if the file is invalid now."""
        self.path = path
        self._read = read
        self._seen = self._stamp()
        self.error: ConfigError | None = None  # why the file's newest content was rejected; None: it was not
        self.content = read(path)

    @property
    def has_changed(self) -> bool:
        """Whether `refresh` would read the file."""
        return self._stamp() != self._seen

    def refresh(self) -> bool:
        """Reads the file again if it has changed; returns whether it has. Sets `error`, never raises it."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            self.content, self.error = self._read(self.path), None
        except ConfigError as error:
            self.error = error
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
