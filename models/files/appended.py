"""Files that grow by lines: a line is appended whole or not at all, and a torn last line spoils no other.

A line is torn when the process or the machine ends in the middle of writing it. It lacks its line end.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO


def json_line(said: Mapping[str, object]) -> bytes:
    """Returns a JSON object as a line, with its line end. Raises ValueError for a number that JSON has not."""
    return json.dumps(said, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def append_line(file: BinaryIO, line: bytes) -> None:
    """Appends a line, which ends with a line end, to a file that is open unbuffered for reading and appending.

    After a torn line, the line begins on a line of its own. A line that the disk has no room for is taken back, and
    raises OSError. What cannot be sought, a pipe, is written straight.
    """
    if not file.seekable():
        file.write(line)
        return
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) not in (b"\n", b""):
            line = b"\n" + line
    written = file.write(line)
    if written < len(line):  # the disk has just become full; half a line would spoil the next line
        file.truncate(end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def drop_torn_line(path: Path) -> int:
    """Removes the torn last line of a file, if it has one; returns the number of that line, 0: nothing was torn."""
    if not path.is_file():
        return 0
    with path.open("r+b") as file:
        found = file.read()
        whole = found.rpartition(b"\n")
        if not whole[2]:
            return 0
        file.truncate(len(found) - len(whole[2]))
        return whole[0].count(b"\n") + 1 + bool(whole[1])
