"""The memory that a program may still take on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

GROUPS = Path("/sys/fs/cgroup")  # where Linux tells the limits of a container
NAMES = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""The files of a limit and of what is used of it, in both of Linux's forms."""


def available_bytes(groups: Path = GROUPS) -> int:
    """Returns how many bytes are available: in the whole machine, or less where a container has a limit.

    Pages of files that are only cached count as available, a mapped model's among them.
    """
    return max(0, min([int(psutil.virtual_memory().available), *_limits(groups)]))


def _limits(groups: Path) -> Iterator[int]:
    """Yields what is left of each limit that the process has."""
    for limit, used in NAMES:
        try:
            most, taken = (int((groups / name).read_text()) for name in (limit, used))
        except (OSError, ValueError):  # there is no such file, or it says "max": no limit
            continue
        yield most - taken
