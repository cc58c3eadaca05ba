"""Decisions as JSON Lines, in files of bounded size and number; a full or missing disk never stops serving.

The engine's thread only puts a decision on a queue; another thread writes it to the file. A decision that does not fit
on the queue is counted as lost. After a crash in the middle of a line, the next decision begins on a line of its own.
`read_decisions` reads the files back.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from controller.decision_record import DecisionRecord
from models.errors import LaserError
from models.files.appended import append_line
from models.files.replacement import file_behind
from models.files.text import decode_json

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
        regular = file_behind(self.path)
        if regular is None:  # a device or a pipe
            with self.path.open("ab", buffering=0) as file:
                file.write(line)
            return
        try:
            size = regular.stat().st_size
        except FileNotFoundError:
            size = 0
        if size and size + len(line) > self._max_bytes:
            self._rotate(regular)
        with regular.open("a+b", buffering=0) as file:
            append_line(file, line)

    def _rotate(self, path: Path) -> None:
        names = [path, *(old(path, number) for number in range(1, self._keep + 1))]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)


def old(path: Path, number: int) -> Path:
    """Returns the name of the file that became full `number` files ago."""
    return path.with_name(f"{path.name}.{number}")


def read_decisions(path: Path, classes: int, told: Callable[[str], None] = log.warning) -> Iterator[DecisionRecord]:
    """Yields the decisions of a log and its older files, oldest first.

    A line that a crash has torn is no JSON; it is left out, and `told` gets its file and number. `classes`: the number
    of difficulty classes of the profile that decided. Raises LogError if a file cannot be read, if a line is JSON but
    no decision, or if the log has lines and all of them are torn.
    """
    try:
        path = file_behind(path) or path
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error.strerror}") from error
    files = [path]
    while (older := old(path, len(files))).exists():
        files.append(older)
    torn, found = "", 0
    for file in reversed(files):
        for number, line in _lines(file):
            try:
                said = decode_json(line)
            except ValueError:
                told(f"{file}:{number}: was cut off, and is left out")
                torn = torn or f"{file}:{number}"
                continue
            try:
                record = DecisionRecord.from_json(said, classes)
            except (ValueError, TypeError, ArithmeticError) as error:
                raise LogError(f"{file}:{number}: {error}") from error
            found += 1
            yield record
    if torn and not found:
        raise LogError(f"{torn}: is no decision, and no line of the log is one")


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yields the numbers and contents of a file's lines that are not empty."""
    try:
        with file.open("rb") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except OSError as error:
        raise LogError(f"{file}: cannot be read: {error.strerror}") from error
