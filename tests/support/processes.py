"""`laser` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def laser(*arguments: str | Path, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run `laser` to its end."""
    line = [sys.executable, "-m", "laser", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT, timeout=timeout_s, check=False)


@contextmanager
def serving(*arguments: str | Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `laser serve` that is ready, and its first line; `variables` are added to its environment."""
    line = [sys.executable, "-m", "laser", "serve", "--port", "0", "--threads", "1", *map(str, arguments)]
    environment = ENVIRONMENT | variables
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


def url_of(ready: str) -> str:
    return ready.split(" ready at ")[1].split(" ")[0]


def errors(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.read()
