"""Records where and how a benchmark ran, and writes its results to a file."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments.provenance import cores, processor


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """All that is needed to repeat a run and to compare its results."""

    command: str
    date: str
    seed: int
    processor: str
    cores: int
    load_average: tuple[float, float, float]  # before the run: other work slows wall clocks
    python: str
    versions: dict[str, str]


def circumstances(module: str, seed: int) -> Circumstances:
    """Returns how this process was started, and on which machine."""
    return Circumstances(
        command=" ".join(["python", "-m", module, *sys.argv[1:]]),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=seed,
        processor=processor(),
        cores=cores(),
        load_average=os.getloadavg(),
        python=platform.python_version(),
        versions={name: version(name) for name in ("torch", "transformers", "numpy")},
    )


def write(path: Path, ran: Circumstances, results: Any) -> None:
    """Writes circumstances and results to a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"circumstances": asdict(ran), "results": results}, indent=2) + "\n", encoding="utf-8")
