"""A command that a signal ends leaves no temporary folder behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import ENVIRONMENT

IN_ORDER = """
import sys, tempfile, time
from laser.cli.main import ending_in_order
with ending_in_order(), tempfile.TemporaryDirectory(dir=sys.argv[1]):
    print("ready", flush=True)
    time.sleep(60)
"""
REPLACING = """
import sys, time
from pathlib import Path
from laser.cli.main import ending_in_order
from models.files.replacement import replacing
with ending_in_order(), replacing(Path(sys.argv[1]) / "out.json") as draft:
    draft.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("code", [IN_ORDER, REPLACING])
def test_what_is_temporary_goes_with_a_signal(tmp_path: Path, code: str) -> None:
    line = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_demo_that_is_ended_takes_its_folder_and_its_server_along(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "laser", "demo", "--seconds", "60"]
    environment = ENVIRONMENT | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        while "The dashboard" not in process.stdout.readline():
            assert process.poll() is None
        assert any(each.name.startswith("laser-demo-") for each in tmp_path.iterdir())
        time.sleep(1.0)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert not any(each.name.startswith("laser-") for each in tmp_path.iterdir())
