"""Where a random model may lie."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path


def scratch_folder(named: Sequence[Path]) -> tuple[Path, int]:
    """Returns the roomiest of the named folders and its free bytes; without a name, of /dev/shm and the one for files
    that do not last."""
    folders = list(named) or [Path("/dev/shm"), Path(tempfile.gettempdir())]
    rooms = [(shutil.disk_usage(folder).free, folder) for folder in folders if folder.is_dir()]
    if not rooms:
        raise ValueError(f"no folder {' or '.join(map(str, folders))} to write a model to")
    room, folder = max(rooms)
    return folder, room
