"""What is told of a model when it is deployed."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from controller.policies.auto import Auto
from controller.policies.load_aware import LoadAware
from controller.policies.none import FullThought
from laser.server.config import ServeConfig
from laser.server.deployment import deploy
from models.chat_model import load_chat_model
from models.files.strict_yaml import ConfigError
from models.profile.identity import identify
from models.profile.profile import FILE_NAME, ProfileError, read_profile, write_profile
from models.reasoner import bundled_model
from tests.support.live_server import save_random_model


def test_sampling_settings_that_are_not_used_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = save_random_model(tmp_path)
    settings = {"do_sample": True, "temperature": 0.6, "typical_p": 0.9, "num_beams": 2}
    (model / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="laser.server"):
        deploy(ServeConfig(model=model))
    (line,) = [each.getMessage() for each in caplog.records if "generation_config" in each.getMessage()]
    assert line.endswith("has settings that are not used: typical_p 0.9, num_beams 2")


def save_others(file: Path) -> None:
    """Writes whole weights that are no model's: loading them is refused."""
    save_file({"other": torch.zeros(1)}, file)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"policy": LoadAware()}, "policy is load-aware, which needs a profile: "),
        ({"policy": LoadAware(), "shortest_first": True}, "which needs a profile: "),
        ({"policy": FullThought(), "shortest_first": True}, "shortest_first is set, which needs a profile: "),
        ({"policy": FullThought(), "head_start_s": 2.0}, "head_start_s is 2, which needs a profile: "),
        ({"policy": Auto(risk=0.01), "decision_log": Path("decisions")}, "which needs a profile: "),
    ],
)
def test_what_the_policy_lacks_is_told_before_the_weights_are_loaded(
    tmp_path: Path, config: dict[str, Any], told: str
) -> None:
    model = save_random_model(tmp_path)
    save_others(next(model.glob("*.safetensors")))
    with pytest.raises(ProfileError, match=told):
        deploy(ServeConfig(model=model, **config))


def test_a_controller_s_bad_file_is_told_before_the_weights_are_loaded(tmp_path: Path) -> None:
    for file in bundled_model().iterdir():
        if file.name != FILE_NAME and file.suffix != ".safetensors":
            (tmp_path / file.name).symlink_to(file)
    save_others(tmp_path / "model.safetensors")
    ours = read_profile(bundled_model() / FILE_NAME)
    theirs = identify(tmp_path, load_chat_model(tmp_path).thinking.format)
    write_profile(tmp_path / FILE_NAME, replace(ours, model=theirs))
    bad = tmp_path / "controller.yaml"
    bad.write_text("iner_s: 1\n")
    with pytest.raises(ConfigError, match=r"controller.yaml:1:1: unknown key `iner_s`; did you mean `inner_s`?"):
        deploy(ServeConfig(model=tmp_path, policy=LoadAware(), controller=bad))


def test_beside_an_account_requests_may_fix_only_what_it_always_affords() -> None:
    """Nobody pays for an exit of the request's own, so it keeps the mean risk, not the peak."""
    deployed = deploy(ServeConfig(policy=LoadAware(risk=0.03, risk_peak=0.1)))
    certifying, certified = deployed.chosen.certifying, deployed.served.certified
    assert certifying is not None
    assert certifying.harm is not None
    assert certified is not None
    bounds = certifying.harm.bounds.max(axis=0)[0]
    for corner in certified:
        place = certifying.thresholds.index(corner.threshold), certifying.budgets.index(corner.budget)
        assert bounds[place] <= 0.03
    assert bounds[np.array(certifying.certificate.certified)].max() > 0.03
    deployed.chosen.close()
