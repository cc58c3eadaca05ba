"""The example files under configs/ load, and tell the truth about the defaults."""

from dataclasses import fields
from pathlib import Path

import pytest

from controller.settings import ControllerSettings
from laser.config import ServeConfig
from models.strict_yaml import read
from models.thinking import ThinkingFormat

CONFIGS = Path(__file__).parents[1] / "configs"


def test_serve_yaml_lists_every_key_at_its_default() -> None:
    text = (CONFIGS / "serve.yaml").read_text(encoding="utf-8")
    listed = {line.split(":")[0] for line in text.splitlines() if line and not line.startswith("#")}
    assert listed == {field.name for field in fields(ServeConfig)}
    assert read(CONFIGS / "serve.yaml", ServeConfig) == ServeConfig()


def test_controller_yaml_tells_the_defaults() -> None:
    assert read(CONFIGS / "controller.yaml", ControllerSettings) == ControllerSettings()


@pytest.mark.parametrize("file", sorted((CONFIGS / "models").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_model_family_s_thinking_format_loads(file: Path) -> None:
    form = read(file, ThinkingFormat)
    assert form.landing.endswith("</think>\n\n")
    assert form.probe.suffix.endswith("\\boxed{")
