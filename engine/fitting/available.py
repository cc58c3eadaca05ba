"""The memory that a program may still take on this machine, and the processors that it may keep busy."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

GROUPS = Path("/sys/fs/cgroup")  # where Linux tells the limits of groups of processes: containers, services, jobs
OWN = Path("/proc/self/cgroup")  # where it tells in which groups this process is


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """How one version of Linux's groups tells of memory."""

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
    "": _Form(limit="memory.max", used="memory.current", cached=("inactive_file", "active_file")),
    "memory": _Form(
        limit="memory.limit_in_bytes",
        used="memory.usage_in_bytes",
        cached=("total_inactive_file", "total_active_file"),
    ),
}
"""Both versions, by the name that a line of OWN has for them, and a folder of GROUPS; the groups are folders in it."""


def available_bytes(groups: Path = GROUPS, own: Path = OWN) -> int:
    """Returns how many bytes are available: in the whole machine, or less where a group of this process has a limit.

    Pages of files that are only cached count as available, a mapped model's among them.
    """
    return max(0, min([int(psutil.virtual_memory().available), *_limits(groups, own)]))


def granted_cores(groups: Path = GROUPS, own: Path = OWN) -> float:
    """Returns how many processors' time the groups of this process may take; infinity: as much as there is."""
    return min([math.inf, *_quotas(groups, own)])


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """Yields each limit of time that the process has, in processors."""
    for name, group in _groups(groups, own, ("", "cpu")):
        try:
            if name:
                quota, period = ((group / f"cpu.cfs_{each}_us").read_text() for each in ("quota", "period"))
            else:
                quota, period = (group / "cpu.max").read_text().split()
            granted = int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):  # there is no such file, or it says "max"
            continue
        if granted > 0:  # -1: there is no limit
            yield granted


def _limits(groups: Path, own: Path) -> Iterator[int]:
    """Yields what is left of each limit of memory that the process has."""
    for name, group in _groups(groups, own, _FORMS):
        left = _FORMS[name].left(group)
        if left is not None:
            yield left


def _groups(groups: Path, own: Path, names: Collection[str]) -> Iterator[tuple[str, Path]]:
    """Yields the folder of each group that limits the process, its own and those around it, by each version's name."""
    places = dict.fromkeys(names, PurePosixPath("/"))
    try:
        for line in own.read_text().splitlines():
            _, said, own_place = line.split(":", 2)
            places.update(dict.fromkeys(places.keys() & set(said.split(",")), PurePosixPath(own_place)))
    except (OSError, ValueError):  # no Linux
        pass
    for name, place in places.items():
        for each in (place, *place.parents):  # in a container the place may be one outside, which is not seen
            yield name, groups / name / each.relative_to("/")
