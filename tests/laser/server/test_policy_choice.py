"""Which policy a server takes, by what the model's profile certifies."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from controller.policies.auto import Auto
from controller.policies.fixed import FixedThreshold
from controller.policies.load_aware import LoadAware
from controller.policy import Limits
from laser.server.config import ServeConfig
from laser.server.policy_choice import choose_policy
from models.chat_model import load_chat_model
from models.files.strict_yaml import ConfigError
from models.profile.profile import FILE_NAME, OtherFormatError, ProfileError, identify, read_profile, write_profile
from models.reasoner import bundled_model
from models.score import Score


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


@pytest.mark.parametrize("setting", ["controller", "decision_log"])
def test_what_only_a_controller_reads_is_refused_where_there_is_none(worthless: Path, setting: str) -> None:
    config = ServeConfig(**{setting: worthless / "file"})  # type: ignore[arg-type]  # the setting's name is its own
    with pytest.raises(ConfigError, match=r"file, but the policy is none, not load-aware: the profile certifies not"):
        choose_policy(config, worthless, load_chat_model(worthless))


def test_a_thinking_format_that_the_profile_was_not_made_with_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("answer_reserve: 100\n", encoding="utf-8")
    chat = load_chat_model(bundled_model(), file)
    with pytest.raises(OtherFormatError, match=r"leave --thinking out, .*; with --threshold or --policy it is served"):
        choose_policy(ServeConfig(thinking=file), bundled_model(), chat)
    chosen = choose_policy(ServeConfig(thinking=file, policy=Auto(threshold=0.8)), bundled_model(), chat)
    assert (chosen.name, chosen.profile) == ("fixed", None)
    assert "the format in use is another" in caplog.text


def test_a_score_that_the_profile_was_not_made_with_is_refused_unless_the_policy_is_named() -> None:
    chat = load_chat_model(bundled_model())
    with pytest.raises(ProfileError, match=r"with score (\w+), served is minimum: give --score \1;"):
        choose_policy(ServeConfig(score=Score.MINIMUM), bundled_model(), chat)
    chosen = choose_policy(ServeConfig(score=Score.MINIMUM, policy=FixedThreshold()), bundled_model(), chat)
    assert (chosen.name, chosen.profile) == ("fixed", None)
