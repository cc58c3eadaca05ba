"""Decisions as JSON Lines, in files of bounded size and number; a full or missing disk never stops serving.

The engine's thread only puts a decision on a queue; another thread writes it to the file. A decision that does not fit
on the queue is counted as lost. `read_decisions` reads the files back.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from controller.decision_record import DecisionRecord
from models.errors import LaserError

log = logging.getLogger(__name__)

WAITING = 1000  # decisions on the queue, at most


class LogError(LaserError, ValueError):
    """The log cannot be used; the message names the file, the line and the fault."""


class DecisionLog:
    """Writes decisions to `path`; a full file becomes `path.1`, `path.1` becomes `path.2`, up to `keep` old files."""

    def __init__(self, path: Path, *, max_bytes: int = 8_000_000, keep: int = 8) -> None:
        if max_bytes < 1 or keep < 1:
            raise ValueError(f"max_bytes is {max_bytes} and keep {keep}, must be at least 1")
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._queue: queue.Queue[DecisionRecord | None] = queue.Queue(WAITING)
        self._error: str | None = None
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="decision log", daemon=True)
        self._thread.start()

    def complaint(self) -> str | None:
        """Returns what is wrong now; None: nothing."""
        if self._error is None and not self._lost:
            return None
        return f"decision log: {self._error or 'it can be written again'}; {self._lost} decisions are lost"

    def __call__(self, decision: DecisionRecord) -> None:
        """Records a decision. Returns at once and never raises."""
        try:
            self._queue.put_nowait(decision)
        except queue.Full:
            self._lost += 1

    def close(self, timeout_s: float = 5.0) -> None:
        """Writes the queued decisions and ends the thread; waits up to `timeout_s` each for queue and thread."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    # --- on the log's thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (decision := self._queue.get()) is not None:
            try:
                self._write(json.dumps(decision.to_json(), separators=(",", ":")).encode() + b"\n")
            except (OSError, ValueError, TypeError) as error:
                self._lost += 1
                if self._error is None:  # logged once, not at every decision
                    log.warning("%s: a decision could not be recorded: %s", self.path, error)
                self._error = " ".join(str(error).split())
            else:
                self._error = None

    def _write(self, line: bytes) -> None:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size and size + len(line) > self._max_bytes:
            self._rotate()
        with self.path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            written = file.write(line)
            if written < len(line):  # the disk has just become full; half a line would spoil the next line
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _rotate(self) -> None:
        names = [self.path, *(old(self.path, number) for number in range(1, self._keep + 1))]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)


def old(path: Path, number: int) -> Path:
    """Returns the name of the file that became full `number` files ago."""
    return path.with_name(f"{path.name}.{number}")


def read_decisions(path: Path, classes: int) -> Iterator[DecisionRecord]:
    """Yields the decisions of a log and its older files, oldest first; leaves out a last line that was cut off.

    `classes`: the number of difficulty classes of the profile that decided. Raises LogError if a file cannot be read,
    or if a line is no decision.
    """
    files = [path]
    while (older := old(path, len(files))).exists():
        files.append(older)
    for file in reversed(files):
        for number, line in enumerate(_lines(file), start=1):
            try:
                record = DecisionRecord.from_json(json.loads(line), classes)
            except (ValueError, TypeError) as error:
                if not line.endswith("\n"):
                    break
                raise LogError(f"{file}:{number}: {error}") from error
            yield record


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError as error:
        raise LogError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LogError(f"{file}: is not UTF-8: {error.reason} at byte {error.start}") from error
