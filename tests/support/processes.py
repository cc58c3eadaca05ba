"""`laser` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def laser(*arguments: str | Path, timeout_s: float = 60.0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `laser` to its end; `variables` are added to its environment."""
    line, environment = [sys.executable, "-m", "laser", *map(str, arguments)], ENVIRONMENT | variables
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=timeout_s, check=False)


@contextmanager
def serving(
    *arguments: str | Path, apart: bool = False, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `laser serve` that is ready, and its first line; `variables` are added to its environment.

    `apart`: the engine has a process of its own, which takes longer to start.
    """
    line = [sys.executable, "-m", "laser", "serve", "--port", "0", "--threads", "1", *map(str, arguments)]
    line += [] if apart else ["--in-process"]
    environment = ENVIRONMENT | variables
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process, _ready(process, json_log="json" in arguments)
        finally:
            process.kill()


def _ready(process: subprocess.Popen[str], *, json_log: bool) -> str:
    """Returns the line that says that the server is ready: of stdout, or a record of its log in JSON."""
    assert process.stdout is not None
    assert process.stderr is not None
    if not json_log:
        return process.stdout.readline()
    records = (json.loads(line) for line in process.stderr)
    return str(next(record["message"] for record in records if record.get("topic") == "ready"))


def url_of(ready: str) -> str:
    return ready.split(" ready at ")[1].split(" ")[0]


def errors(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.read()
