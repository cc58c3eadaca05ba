"""The memory that a program may still take on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

GROUPS = Path("/sys/fs/cgroup")  # where Linux tells the limits of groups of processes: containers, services, jobs
OWN = Path("/proc/self/cgroup")  # where it tells in which groups this process is


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """How one version of Linux's groups tells of memory."""

    folder: str  # of GROUPS; the groups are folders in it
    limit: str
    used: str
    cached: tuple[str, ...]  # in memory.stat: pages of files, which are part of what is used and are given up first

    def left(self, group: Path) -> int | None:
        """Returns the bytes that are left of a group's limit; None: it has none."""
        try:
            most, used = (int((group / name).read_text()) for name in (self.limit, self.used))
        except (OSError, ValueError):  # there is no such file, or it says "max"
            return None
        try:
            told = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            cached = sum(int(told.get(name, 0)) for name in self.cached)
        except (OSError, ValueError):
            cached = 0
        return most - max(0, used - cached)


_FORMS = {
    "": _Form(folder="", limit="memory.max", used="memory.current", cached=("inactive_file", "active_file")),
    "memory": _Form(
        folder="memory",
        limit="memory.limit_in_bytes",
        used="memory.usage_in_bytes",
        cached=("total_inactive_file", "total_active_file"),
    ),
}
"""Both versions, by the name that a line of OWN has for them."""


def available_bytes(groups: Path = GROUPS, own: Path = OWN) -> int:
    """Returns how many bytes are available: in the whole machine, or less where a group of this process has a limit.

    Pages of files that are only cached count as available, a mapped model's among them.
    """
    return max(0, min([int(psutil.virtual_memory().available), *_limits(groups, own)]))


def _limits(groups: Path, own: Path) -> Iterator[int]:
    """Yields what is left of each limit that the process has: that of its group, and of the groups around that."""
    places = dict.fromkeys(_FORMS, PurePosixPath("/"))
    try:
        for line in own.read_text().splitlines():
            _, names, own_place = line.split(":", 2)
            places.update(dict.fromkeys(_FORMS.keys() & set(names.split(",")), PurePosixPath(own_place)))
    except (OSError, ValueError):  # no Linux
        pass
    for name, place in places.items():
        form = _FORMS[name]
        for each in (place, *place.parents):  # in a container the place may be one outside, which is not seen
            left = form.left(groups / form.folder / each.relative_to("/"))
            if left is not None:
                yield left
