"""The names that a program may import from each package, and the examples that do."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FACES = {
    "laser": "ServeConfig Service ask create_app deploy listen load_config run",
    "experiments": "CalibrationSettings EvaluationSettings Question SimulationSettings calibrate evaluate_model"
    " simulate_load",
    "controller": "Controller FixedPolicy Limits LoadObserver Outcome Policy ReasoningRequest ServingLoop",
    "engine": "Capabilities Engine EngineError Finished ProbeSpec Probed Request Sampling Tokens engine_options"
    " open_engine",
    "models": "ChatModel LaserError Profile Score ThinkingFormat bundled_model load_chat_model read_profile",
}
SAYS = {
    "serve_and_ask": r"\\boxed\{92\}",
    "own_policy": r"Patient\(threshold=0.8, budget=300\): \d+% right, \d+ rows",
    "own_signal": r"short: \d+ thought tokens, (right|wrong)",
    "simulate": r"load-aware: [\d.]+ s mean latency, \d+% right, \d+ requests",
}


@pytest.mark.parametrize("package", FACES)
def test_a_package_s_face_is_the_names_promised(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(FACES[package].split())
    assert 5 <= len(module.__all__) <= 12
    assert all(getattr(module, name).__name__ == name for name in module.__all__)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_laser_tells_its_version() -> None:
    assert re.match(r"\d+[.+]", importlib.import_module("laser").__version__)


def test_every_example_is_short_and_told_of() -> None:
    files = sorted((ROOT / "examples").glob("*.py"))
    assert [file.stem for file in files] == sorted(SAYS)
    assert {file.stem: lines for file in files if (lines := file.read_text("utf-8").count("\n")) > 30} == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'examples'}"}
    line = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(SAYS[name], done.stdout), done.stdout
