"""What is told of a model when it is deployed."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from laser.server.config import ServeConfig
from laser.server.deployment import deploy
from tests.support.live_server import save_random_model


def test_sampling_settings_that_are_not_used_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = save_random_model(tmp_path)
    settings = {"do_sample": True, "temperature": 0.6, "repetition_penalty": 1.05, "min_p": 0.05}
    (model / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="laser.server"):
        deploy(ServeConfig(model=model))
    (line,) = [each.getMessage() for each in caplog.records if "generation_config" in each.getMessage()]
    assert line.endswith("has settings that are not used: repetition_penalty 1.05, min_p 0.05")
