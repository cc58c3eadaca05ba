"""Where a random model may lie."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from models.errors import LaserError


class RoomError(LaserError):
    """There is no room for a random model."""


def scratch_folder(named: Sequence[Path]) -> tuple[Path, int]:
    """Returns the roomiest of the named folders and its free bytes; without a name, of /dev/shm and TMPDIR.

    Raises RoomError if there is no such folder.
    """
    folders = list(named) or [Path("/dev/shm"), Path(tempfile.gettempdir())]
    rooms = [(shutil.disk_usage(folder).free, folder) for folder in folders if folder.is_dir()]
    if not rooms:
        raise RoomError(f"there is no folder {' or '.join(map(str, folders))} to write a model to")
    room, folder = max(rooms)
    return folder, room
