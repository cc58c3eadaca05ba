"""The example files under configs/ load, and tell the truth about the defaults."""

from dataclasses import fields
from pathlib import Path

import pytest

from controller.settings import ControllerSettings
from experiments.trials.experiment import read_experiment
from laser.server.config import ENGINE_KEYS, ServeConfig
from models.files.strict_yaml import read
from models.thinking import ThinkingFormat

CONFIGS = Path(__file__).parents[1] / "configs"


def test_serve_yaml_lists_every_key_at_its_default() -> None:
    text = (CONFIGS / "serve.yaml").read_text(encoding="utf-8")
    listed = {line.split(":")[0] for line in text.splitlines() if line and not line.startswith(("#", " "))}
    assert listed == {field.name for field in fields(ServeConfig)} - set(ENGINE_KEYS)  # which stand under `engine`
    assert read(CONFIGS / "serve.yaml", ServeConfig) == ServeConfig()


def test_controller_yaml_tells_the_defaults() -> None:
    assert read(CONFIGS / "controller.yaml", ControllerSettings) == ControllerSettings()


@pytest.mark.parametrize("file", sorted((CONFIGS / "models").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_model_family_s_thinking_format_loads(file: Path) -> None:
    form = read(file, ThinkingFormat)
    behind = form.landing.partition(form.closers[0])[2]
    assert form.in_the_open or form.probe.suffix.partition(form.closers[0])[2].startswith(behind)
    assert form.probe.suffix.endswith("\\boxed{")


@pytest.mark.parametrize("file", sorted((CONFIGS / "experiments").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_experiment_loads_and_compares_with_what_it_should(file: Path) -> None:
    experiment = read_experiment(file)
    assert experiment.baseline == "fixed .95"
    assert any(one.name == experiment.full_thought and one.kind == "none" for one in experiment.policies)
    for one in experiment.policies:
        if one.has_controller:  # it is to want what it is judged by
            assert one.controller.objective.latency_weight == experiment.latency_weight
