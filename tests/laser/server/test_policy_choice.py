"""Which policy a server takes, by what the model's profile certifies."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from controller.policies.auto import Auto
from controller.policies.load_aware import LoadAware
from controller.policy import Limits
from laser.server.config import ServeConfig
from laser.server.policy_choice import choose_policy
from models.chat_model import load_chat_model
from models.profile.profile import FILE_NAME, ProfileError, identify, read_profile, write_profile
from models.reasoner import bundled_model


@pytest.fixture(params=["told by evidence", "told by the table, as in older files"])
def worthless(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The bundled model with a profile whose full thoughts are never right."""
    for file in bundled_model().iterdir():
        if file.name != FILE_NAME:
            (tmp_path / file.name).symlink_to(file)
    ours = read_profile(bundled_model() / FILE_NAME)
    nothing = tuple(tuple((0.0,) * len(row) for row in rows) for rows in ours.accuracy)
    identity = identify(tmp_path, load_chat_model(tmp_path).thinking.format)
    shown = ours.certificate.evidence
    assert shown is not None
    kept = replace(shown, right=0) if request.param == "told by evidence" else None
    certificate = replace(ours.certificate, evidence=kept)
    write_profile(tmp_path / FILE_NAME, replace(ours, model=identity, accuracy=nothing, certificate=certificate))
    return tmp_path


def test_auto_serves_full_thoughts_where_the_profile_certifies_nothing(
    worthless: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        chosen = choose_policy(ServeConfig(policy=Auto(every=40)), worthless, load_chat_model(worthless))
    told = "the profile certifies nothing: the full thought is right for 0.0% of the questions"
    assert (chosen.name, chosen.policy.limits(None)) == ("none", Limits())
    assert (chosen.note or "").startswith(told)
    assert [record.getMessage().startswith(f"thoughts are not shortened: {told}") for record in caplog.records] == [
        True
    ]


@pytest.mark.parametrize("policy", [LoadAware(), LoadAware(risk=0.02), Auto(risk=0.02)])
def test_a_policy_that_needs_a_certificate_is_refused_where_there_is_one_of_nothing(
    worthless: Path, policy: Auto | LoadAware
) -> None:
    with pytest.raises(
        ProfileError, match=r"policy is load-aware, but the profile certifies nothing: the full thought is"
    ):
        choose_policy(ServeConfig(policy=policy), worthless, load_chat_model(worthless))


def test_a_threshold_of_one_s_own_asks_no_certificate(worthless: Path) -> None:
    chosen = choose_policy(ServeConfig(policy=Auto(threshold=0.9)), worthless, load_chat_model(worthless))
    assert (chosen.name, chosen.policy.limits(None).threshold) == ("fixed", 0.9)
