"""A stage's results on disk, written anew with each figure, so that a stage that is cut short keeps what it has."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """A JSON file of named results."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._results: dict[str, Any] = {}
        file.parent.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, result: Any) -> None:
        """Writes the file with one more result; a reader never sees half of it."""
        self._results[name] = result
        beside = self._file.with_suffix(".part")
        beside.write_text(json.dumps(self._results, indent=2) + "\n", encoding="utf-8")
        os.replace(beside, self._file)
        print(f"{name}: {json.dumps(result)}", flush=True)


def read(file: Path) -> dict[str, Any]:
    """Returns what a journal holds; nothing if it was never begun."""
    if not file.is_file():
        return {}
    held: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return held
