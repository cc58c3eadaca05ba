"""What only a controller needs is imported by neither process before requests are served, and else never."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.live_server import WAIT_S, chat
from tests.support.processes import ENVIRONMENT, url_of

pytestmark = pytest.mark.slow

LATE = frozenset({"cvxpy", "filterpy", "scipy", "matplotlib", "pandas", "sympy", "optuna"})
API, ENGINE = "laser.server.app", "engine.torch.engine"  # modules that only one of the two imports
IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| +(\S+)", re.MULTILINE)


def test_a_server_without_a_controller_answers_without_them(tmp_path: Path) -> None:
    trace = tmp_path / "imports"
    line = [sys.executable, "-m", "laser", "serve", "--port", "0", "--policy", "fixed"]
    environment = ENVIRONMENT | {"PYTHONPROFILEIMPORTTIME": "1"}  # of both processes, who write to the same file
    with (
        trace.open("wb") as errors,
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout is not None
            url = url_of(process.stdout.readline())
            body = chat(max_tokens=4)
            reply = httpx.post(f"{url}/v1/chat/completions", json=body, trust_env=False, timeout=WAIT_S)
            assert reply.status_code == 200
        finally:
            process.kill()
    found = set(IMPORTED.findall(trace.read_text(encoding="utf-8", errors="replace")))
    assert {API, ENGINE} <= found
    assert not LATE & {name.partition(".")[0] for name in found}


CONTROLLED = f"""
import json, sys, time
from laser.server.config import ServeConfig
from laser.server.deployment import deploy

def there():
    return sorted(set({sorted(LATE)}) & set(sys.modules))

deployment = deploy(ServeConfig(), late=True)
found = [deployment.chosen.name, there()]
deployment.chosen.begin()
until = time.monotonic() + {WAIT_S}
while deployment.chosen.controller is None and time.monotonic() < until:
    time.sleep(0.01)
print(json.dumps([*found, deployment.chosen.controller is not None, there()]))
deployment.chosen.close()
"""


def test_a_controller_s_are_imported_once_requests_are_served() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONTROLLED],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=3 * WAIT_S,
        check=True,
    )
    name, before, made, behind = json.loads(done.stdout)
    assert (name, before, made) == ("load-aware", [], True)
    assert "filterpy" in behind
