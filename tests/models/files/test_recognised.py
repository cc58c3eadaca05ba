"""A settings file of another kind than was asked for is named as what it seems to be, with few faults."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from controller.settings import ControllerSettings
from experiments.evaluation.question_files import QuestionKey
from experiments.trials.experiment import Experiment
from experiments.workloads.reading import AnyWorkload, read_workload
from laser.server.config import ServeConfig
from laser.server.keys import KeyFile
from models.files.recognised import FILES, MOST_FAULTS, recognised
from models.files.strict_yaml import ConfigError, read
from models.reasoner import bundled_model
from models.thinking import ThinkingFormat
from tests.support.processes import ROOT

EXPERIMENT = ROOT / "configs" / "experiments" / "smoke.yaml"
CONTROLLER = ROOT / "configs" / "controller.yaml"
QUESTIONS = '{"question": "1 + 1?", "answer": "2"}\n{"question": "2 + 2?", "answer": "4"}\n'


@pytest.mark.parametrize(
    ("kind", "into"),
    [
        ("an experiment", Experiment),
        ("settings of `laser serve`", ServeConfig),
        ("settings of the controller", ControllerSettings),
        ("API keys", KeyFile),
        ("a thinking format", ThinkingFormat),
    ],
)
def test_each_kind_is_told_by_keys_that_it_has(kind: str, into: type[Any]) -> None:
    names = {field.name for field in fields(into)}
    assert FILES[kind] <= names
    assert recognised(names) == kind


def test_workloads_and_questions_are_told_by_keys_that_they_have() -> None:
    workloads: Any = AnyWorkload
    assert FILES["a workload"] <= {"kind"}.union(*({f.name for f in fields(one)} for one in workloads.__args__))
    assert FILES["questions, JSON Lines"] == {key.value for key in QuestionKey}


@pytest.mark.parametrize(
    ("given", "into", "told"),
    [
        (EXPERIMENT, ControllerSettings, "seems to be an experiment, must be settings of the controller, with keys"),
        (EXPERIMENT, KeyFile, "seems to be an experiment, must be API keys, with keys such as keys"),
        (CONTROLLER, Experiment, "seems to be settings of the controller, must be an experiment, with keys such as"),
        (CONTROLLER, ServeConfig, "seems to be settings of the controller, must be settings of `laser serve`, with"),
        (
            bundled_model() / "laser.yaml",
            ControllerSettings,
            "seems to be a thinking format, must be settings of the controller",
        ),
    ],
)
def test_a_file_of_another_kind_is_named_as_such(given: Path, into: type[Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(given, into, secret=into is KeyFile)
    (line,) = refused.value.lines
    assert line.startswith(f"{given}: {told}")


@pytest.mark.parametrize("text", [QUESTIONS, QUESTIONS.splitlines()[0], QUESTIONS.replace("}\n", "} \r\n")])
def test_questions_are_recognised_though_they_are_no_yaml(tmp_path: Path, text: str) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(text)
    for into in (Experiment, ControllerSettings, ThinkingFormat):
        with pytest.raises(ConfigError) as refused:
            read(file, into)
        (line,) = refused.value.lines
        assert line.startswith(f"{file}: seems to be questions, JSON Lines, must be ")
    with pytest.raises(ConfigError, match="seems to be questions, JSON Lines, must be a workload, with keys such as"):
        read_workload(file)


def test_a_profile_is_recognised(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{"format": "laser-profile", "version": 1, "sha256": "00", "profile": {"classes": ["easy"]}}')
    with pytest.raises(ConfigError, match="seems to be a profile of `laser calibrate`, must be settings of the con"):
        read(file, ControllerSettings)


def test_a_file_of_no_kind_tells_few_faults(tmp_path: Path) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("".join(f"qqq{n}: {n}\n" for n in range(9)))
    with pytest.raises(ConfigError) as refused:
        read(file, ControllerSettings)
    first, *few, rest = refused.value.lines
    assert first.startswith(f"{file}: 9 of its 9 keys are unknown, must be settings of the controller, with keys such")
    assert len(few) == MOST_FAULTS
    assert rest == f"{file}: has 6 faults more"


def test_a_file_with_misspelled_or_few_strange_keys_is_of_its_own_kind(tmp_path: Path) -> None:
    file = tmp_path / "controller.yaml"
    for text in ("iner_s: 1\noutre_s: 2\nchaneg: 1\n", "host: 1\n", "host: 1\ninner_s: 1\nouter_s: 2\n"):
        file.write_text(text)
        with pytest.raises(ConfigError) as refused:
            read(file, ControllerSettings)
        assert "must be settings" not in str(refused.value)


@pytest.mark.parametrize("into", [ControllerSettings, ServeConfig, ThinkingFormat])
@pytest.mark.parametrize("text", ["", "# inner_s: 1\n"])
def test_a_file_that_holds_nothing_is_told_where_all_has_a_default(tmp_path: Path, into: type[Any], text: str) -> None:
    file, told = tmp_path / "settings.yaml", list[str]()
    file.write_text(text)
    assert read(file, into, told.append) == into()
    assert told == [f"{file}: holds no settings: all are at their defaults"]
    for required, missing in ((Experiment, "`workloads` is missing"), (KeyFile, "`keys` is missing")):
        with pytest.raises(ConfigError, match=missing):
            read(file, required, told.append)
