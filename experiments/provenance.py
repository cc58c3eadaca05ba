"""Where figures come from: which weights, which code, which machine, and how it was asked."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """All that one needs to run it again and to compare."""

    model: str  # the directory's name
    weights_sha256: dict[str, str]  # by file
    laser: str
    torch: str
    python: str
    processor: str
    threads: int
    date: str
    options: Mapping[str, object]


def provenance(model: Path, *, threads: int, options: Mapping[str, object]) -> Provenance:
    """What holds for a run of this process on a model directory; of paths among the options the name alone is kept."""
    return Provenance(
        model=model.resolve().name,
        weights_sha256={file.name: _sha256(file) for file in sorted(model.glob("*.safetensors"))},
        laser=version("laser-serving"),
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


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The name of this machine's processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def commit() -> str:
    """Of this code when it was asked first, if git knows it; with a + where files differ from it."""
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
