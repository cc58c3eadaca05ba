"""Atomic replacement: a file is replaced whole or not at all, and what is no regular file is written straight."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import LaserError

DESCRIPTORS = ("/dev/fd/", "/dev/std", "/proc/")  # links to open files: a new file in their place would reach nobody
DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})  # errors of writing to a disk


class WriteError(LaserError, OSError):
    """A file cannot be written, for example because the disk is full; the message names the file."""


@contextmanager
def told_of(path: Path, numbers: Container[int] | None = None) -> Iterator[None]:
    """Raises WriteError, which names `path`, for an OSError in the block that names no file: a full disk's does not.

    `numbers`: the only errors (errno) that are told so; None: all.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, WriteError) or error.filename is not None:
            raise
        if numbers is not None and error.errno not in numbers:
            raise
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a draft path beside the file at `path`; the draft replaces the file if the block ends without an error.

    Links are followed: the file that they lead to is replaced. Where a device, a pipe or a socket is, the yielded path
    is `path` itself, and nothing is replaced. Raises WriteError if the file cannot be written, for an OSError in the
    block only if it is one of a disk: the block may read, connect and compute.
    """
    try:
        target, mode = file_behind(path), _mode(path)
    except OSError as error:  # links in a circle
        raise WriteError(f"{path}: cannot be written: {error.strerror}") from error
    draft = path if target is None else _draft(path, target)
    try:
        with told_of(path, DISK):
            yield draft
        if target is not None:
            with told_of(path):
                draft.chmod(0o666 & ~_umask() if mode is None else stat.S_IMODE(mode))
                draft.replace(target)
    finally:
        if target is not None:
            draft.unlink(missing_ok=True)


def _draft(path: Path, target: Path) -> Path:
    """Makes an empty file beside `target`. Raises WriteError, which names `path`."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:40]}.", dir=target.parent)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror}") from error
    os.close(handle)
    return Path(name)


def file_behind(path: Path) -> Path | None:
    """Returns the regular file that `path` leads to over all links, which may be missing; None: it is none."""
    mode = _mode(path)
    if (mode is not None and not stat.S_ISREG(mode)) or str(path.absolute()).startswith(DESCRIPTORS):
        return None
    return Path(os.path.realpath(path))


def _mode(path: Path) -> int | None:
    """Returns the mode of what is at `path`, behind all links; None: nothing is."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
