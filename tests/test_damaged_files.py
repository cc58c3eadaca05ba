"""Every file that the product reads, damaged in every way: one clear error that names the file, and serving goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.decision_log import read_decisions
from controller.settings import SettingsFile
from experiments.calibration.traces import read_records
from experiments.evaluation.question_files import read_questions
from experiments.trials.experiment import read_experiment
from experiments.trials.store import Store
from experiments.trials.tuning import mend
from experiments.workloads import Rates, Trace, read_workload
from laser.server.config import load_config
from laser.server.keys import KeyRing
from models.errors import LaserError
from models.profile.profile import read_profile
from models.thinking import read_format
from tests.support.damages import YAML_DAMAGES

JSON_DAMAGES: dict[str, bytes] = {
    "nothing": b"",
    "blank": b"\n\n",
    "brackets": b"[" * 100_000,
    "brackets-closed": b"[" * 100_000 + b"]" * 100_000,
    "objects": b'{"a":' * 50_000,
    "list": b"[1, 2]\n",
    "number": b"5\n",
    "null": b"null\n",
    "text": b'"hello"\n',
    "torn": b'{"timestamp": 1, "quest',
    "nan": b'{"timestamp": NaN, "question": NaN}\n',
    "long-number": b'{"timestamp": ' + b"9" * 5_000 + b"}\n",
    "huge-number": b'{"timestamp": 1e999}\n',
    "large-number": b'{"timestamp": ' + b"9" * 400 + b"}\n",
    "surrogate": b'{"timestamp": "\\ud800", "question": "\\ud800", "answer": "1"}\n',
    "header-alone": b'{"format": "laser-trial", "version": 1}\n',
    "header-of-lists": b'{"format": "laser-trial", "version": 1, "trial": [], "origin": []}\n',
    "nul": b"\x00\x00\x00\x00",
    **{name: YAML_DAMAGES[name] for name in ("utf-16", "latin-1", "half-gzip", "laughs", "tab")},
}


def _stored(file: Path) -> object:
    return Store(file.parent).read(file.stem, {})


YAML_READERS: dict[str, Callable[[Path], object]] = {
    "keys": lambda file: KeyRing(file, lambda: 0.0),
    "settings": lambda file: SettingsFile(file, 3),
    "serve": lambda file: load_config(file, {}),
    "experiment": read_experiment,
    "workload": read_workload,
    "thinking": lambda file: read_format(file.parent, file),
}
JSON_READERS: dict[str, Callable[[Path], object]] = {
    "profile": read_profile,
    "records": read_records,
    "trial": _stored,
    "decisions": lambda file: list(read_decisions(file, 3, told=lambda _: None)),
    "questions": read_questions,
    "trace": lambda file: Trace(path=file).arrivals(10.0, np.random.default_rng(0)),
    "rates": lambda file: Rates(path=file).arrivals(10.0, np.random.default_rng(0)),
    "journal": mend,
}
FINE = {("decisions", "nothing"), ("decisions", "blank"), ("journal", "nothing")}  # which may hold nothing yet


def _refused(read: Callable[[Path], object], file: Path) -> str:
    with pytest.raises((LaserError, ValueError)) as refused:
        read(file)
    assert isinstance(refused.value, LaserError)
    assert len(refused.value.lines) < 22
    assert all(str(file) in line and len(line) < 700 for line in refused.value.lines)
    return " ".join(str(refused.value).split())


@pytest.mark.parametrize("damage", YAML_DAMAGES.values(), ids=YAML_DAMAGES)
@pytest.mark.parametrize("read", YAML_READERS.values(), ids=YAML_READERS)
def test_a_damaged_yaml_file_is_named(tmp_path: Path, read: Callable[[Path], object], damage: bytes) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(damage)
    _refused(read, file)


@pytest.mark.parametrize(
    ("reader", "text", "told"),
    [
        (
            "keys",
            "keys:\n  - {name: a, key: short}\n  - {name: b, key: long-enough, amdin: true, weight: -1}\n",
            ["2:15", "3:33", "3:46"],
        ),
        ("settings", "outer_s: -1\nobjective: {max_load: 2}\nchange: x\n", ["2:13", "3:9", "1:1"]),
        ("serve", "port: 99999\npolicy: {kind: fixed, threshold: 2}\nthreads: 0\n", ["2:23", "3:1", "1:1"]),
        ("experiment", "seeds: []\nduration_s: -1\nworkloads: []\npolicies: []\n", ["3:1", "4:1", "1:1", "2:1"]),
        ("workload", "kind: step\nrate: x\nfactr: 2\nuntil_s: y\n", ["2:7", "3:1", "4:10"]),
        ("thinking", "opne: a\nanswer_reserve: 0\nprobe: {max_answer_tokens: 0}\n", ["1:1", "3:9", "2:1"]),
    ],
)
def test_all_faults_of_a_yaml_file_are_told_with_their_places(
    tmp_path: Path, reader: str, text: str, told: list[str]
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    with pytest.raises(LaserError) as refused:
        YAML_READERS[reader](file)
    places = [line.removeprefix(f"{file}:").partition(": ")[0] for line in refused.value.lines]
    assert places[: len(told)] == told


@pytest.mark.parametrize("damage", JSON_DAMAGES)
@pytest.mark.parametrize("reader", JSON_READERS)
def test_a_damaged_json_file_is_named(tmp_path: Path, reader: str, damage: str) -> None:
    file = tmp_path / "file.jsonl"
    file.write_bytes(JSON_DAMAGES[damage])
    read = JSON_READERS[reader]
    if (reader, damage) in FINE:
        read(file)
    elif reader == "journal" and b"\n" not in JSON_DAMAGES[damage]:
        read(file)  # one torn line, which is dropped
        assert file.read_bytes() == b""
    elif reader == "journal" and json_object(JSON_DAMAGES[damage]):
        read(file)  # what optuna makes of it is optuna's
    else:
        _refused(read, file)


def json_object(content: bytes) -> bool:
    try:
        return all(isinstance(json.loads(line), dict) for line in content.splitlines())
    except (ValueError, RecursionError):
        return False


@pytest.mark.parametrize("damage", YAML_DAMAGES.values(), ids=YAML_DAMAGES)
def test_settings_that_go_bad_while_serving_leave_the_former_in_force(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("outer_s: 7\n")
    settings = SettingsFile(file, 3)
    file.write_text("outer_s: -1\n")
    settings.refresh()
    first = settings.error
    file.write_bytes(damage)
    assert not settings.refresh()
    assert settings.settings.outer_s == 7.0
    assert settings.error is not None
    assert settings.error != first  # the complaint is the present one
    assert settings.error.startswith("controller.yaml")
    file.write_text("outer_s: 8 \n")
    assert settings.refresh()
    assert (settings.settings.outer_s, settings.error) == (8.0, None)


@pytest.mark.parametrize("damage", YAML_DAMAGES.values(), ids=YAML_DAMAGES)
def test_keys_that_go_bad_while_serving_leave_the_former_in_force(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file, now = tmp_path / "keys.yaml", 0.0
    file.write_text("keys: [{name: a, key: a-good-key}]\n")
    ring = KeyRing(file, lambda: now, start=lambda work: work())
    file.write_bytes(damage)
    now = 2.0
    assert ring.caller("Bearer a-good-key").name == "a"
    assert "the former keys stay in force" in caplog.text
    assert "keys.yaml" in caplog.text
    file.write_text("keys: [{name: b, key: another-key}]\n")
    now = 4.0
    assert ring.caller("Bearer another-key").name == "b"


def test_every_reader_reads_a_good_file(tmp_path: Path) -> None:
    """The sweeps above would pass with readers that refuse everything."""
    good: dict[str, Any] = {
        "keys": "\ufeffkeys: [{name: a, key: a-good-key}]\n",
        "settings": "\ufeffouter_s: 1e1\n",
        "serve": "\ufeffslo_s: 1e1\n",
        "workload": "\ufeffkind: poisson\nrate: 1e1\n",
        "thinking": "\ufeffanswer_reserve: 100\n",
        "experiment": (
            "\ufeffbackend: live\nseeds: [1]\nduration_s: 1e1\nbaseline: p\nfull_thought: p\n"
            "workloads: [{name: w, arrivals: {kind: poisson, rate: 1}}]\npolicies: [{name: p, policy: none}]\n"
            "slo_s: {easy: 1, medium: 2, hard: 3}\n"
        ),
    }
    for name, text in good.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(text, encoding="utf-8")
        YAML_READERS[name](file)
