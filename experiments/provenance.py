"""Provenance of figures: the weights, the code, the machine and the options."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from laser.version import VERSION
from models.hub.name import called
from models.profile.identity import weights_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The facts needed to repeat a run and to compare its figures."""

    model: str  # name of the model's directory
    weights_sha256: dict[str, str]  # by file
    laser: str
    torch: str
    python: str
    processor: str
    threads: int
    date: str
    options: Mapping[str, object]


def provenance(
    model: Path, *, threads: int, options: Mapping[str, object], files: Mapping[str, str] | None = None
) -> Provenance:
    """Returns the provenance of this process's run on a model directory; path options keep only the file name.

    `files`: what `weights_sha256` returned; None: it is called.
    """
    return Provenance(
        model=called(model),
        weights_sha256=weights_sha256(model) if files is None else dict(files),
        laser=VERSION,
        torch=version("torch"),
        python=platform.python_version(),
        processor=processor(),
        threads=threads,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        options={name: _said(value) for name, value in options.items()},
    )


def _said(value: object) -> object:
    if isinstance(value, tuple):
        return [_said(item) for item in value]
    return value.name if isinstance(value, Path) else value


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Returns the name of this machine's processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def commit() -> str:
    """Returns this code's git commit at the first call, with a + if files differ from it; "unknown" without git."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip()
