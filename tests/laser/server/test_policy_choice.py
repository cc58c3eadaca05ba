"""Which policy a server takes, by what the model's profile certifies."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.policies.auto import Auto
from controller.policies.fixed import FixedThreshold
from controller.policies.load_aware import LoadAware
from controller.policy import Limits
from engine.options import default_threads
from laser.server.config import ServeConfig, load_config
from laser.server.controller_report import report
from laser.server.policy_choice import choose_policy
from models.chat_model import load_chat_model
from models.files.strict_yaml import ConfigError
from models.profile.identity import identify
from models.profile.profile import FILE_NAME, OtherFormatError, ProfileError, read_profile, write_profile
from models.reasoner import bundled_model
from models.score import Score
from tests.support.contests import contest
from tests.support.orders import choice, load


def with_profile(directory: Path, **changes: Any) -> Path:
    """Makes the directory the bundled model, its profile changed."""
    for file in bundled_model().iterdir():
        if file.name != FILE_NAME:
            (directory / file.name).symlink_to(file)
    ours = read_profile(bundled_model() / FILE_NAME)
    identity = identify(directory, load_chat_model(directory).thinking.format)
    write_profile(directory / FILE_NAME, replace(ours, model=identity, **changes))
    return directory


@pytest.fixture(params=["told by evidence", "told by the table, as in older files"])
def worthless(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The bundled model with a profile whose full thoughts are never right."""
    ours = read_profile(bundled_model() / FILE_NAME)
    nothing = tuple(tuple((0.0,) * len(row) for row in rows) for rows in ours.accuracy)
    shown = ours.certificate.evidence
    assert shown is not None
    kept = replace(shown, right=0) if request.param == "told by evidence" else None
    certificate = replace(ours.certificate, evidence=kept)
    return with_profile(tmp_path, accuracy=nothing, certificate=certificate)


def test_auto_serves_full_thoughts_where_the_profile_certifies_nothing(
    worthless: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        chosen = choose_policy(ServeConfig(policy=Auto()), worthless, load_chat_model(worthless))
    told = "the profile certifies nothing: the full thought is right for 0.0% of the questions"
    assert (chosen.name, chosen.policy.limits(None)) == ("none", Limits())
    assert (chosen.note or "").startswith(told)
    assert chosen.warns
    assert caplog.records == []  # the start's log tells the policy with its note


def test_auto_warns_of_a_damaged_profile_once_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = with_profile(tmp_path)
    file = directory / FILE_NAME
    file.write_bytes(file.read_bytes()[:-200])
    with caplog.at_level(logging.INFO):
        chosen = choose_policy(ServeConfig(), directory, load_chat_model(directory))
    assert (chosen.name, chosen.warns) == ("fixed", True)
    assert str(chosen.note).startswith(f"{FILE_NAME}: is not JSON")
    assert caplog.records == []


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


@pytest.mark.parametrize(
    ("settings", "gain", "takes"),
    [
        ({}, None, "load-aware (whether a constant"),
        ({}, -1.0, "fixed (the safe constant"),
        ({"risk": 0.02}, None, "load-aware (risk is given)"),
    ],
)
def test_auto_refuses_an_interval_of_probes_where_it_takes_what_is_certified_at_another(
    tmp_path: Path, settings: dict[str, float], gain: float | None, takes: str
) -> None:
    worse = None if gain is None else contest(gain, gain, gain, threshold=0.95, budget=320)
    directory = with_profile(tmp_path, contest=worse)
    config = load_config(None, {"every": 64, **settings})
    with pytest.raises(ConfigError, match=rf"^every is 64, but auto takes {re.escape(takes)}"):
        choose_policy(config, directory, load_chat_model(directory))
    (directory / FILE_NAME).unlink()
    if not settings:
        chosen = choose_policy(config, directory, load_chat_model(directory))
        assert (chosen.name, chosen.policy.limits(None).every) == ("fixed", 64)


@pytest.mark.parametrize(
    ("constant", "kind", "limits"),
    [
        ({"threshold": 0.95, "budget": 320}, "fixed", Limits(threshold=0.95, budget=320)),
        ({"threshold": None, "budget": 320}, "budget", Limits(budget=320)),
        ({"threshold": None, "budget": None}, "none", Limits()),
    ],
)
def test_auto_serves_the_safe_constant_where_load_aware_is_worse(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, constant: dict[str, Any], kind: str, limits: Limits
) -> None:
    directory = with_profile(tmp_path, contest=contest(0.1, -0.1, 0.1, **constant))
    with caplog.at_level(logging.INFO):
        chosen = choose_policy(ServeConfig(), directory, load_chat_model(directory))
    assert (chosen.name, chosen.policy.limits("easy")) == (kind, limits)
    assert chosen.note is not None
    assert chosen.note.startswith("the safe constant")
    assert not chosen.warns
    assert caplog.records == []


@pytest.mark.parametrize(
    ("gain", "config", "told"),
    [
        (0.0, ServeConfig(), "simulated at 50% of capacity, it is not shown to be worse than the safe constant, "),
        (None, ServeConfig(), "whether a constant would do better is not simulated yet: "),
        (-1.0, ServeConfig(controller=Path("configs/controller.yaml")), "controller is given"),
        (-1.0, ServeConfig(policy=LoadAware()), None),
        (-1.0, ServeConfig(policy=Auto(risk=0.02)), "risk is given"),
    ],
)
def test_auto_is_load_aware_where_that_is_not_shown_to_be_worse_or_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, gain: float | None, config: ServeConfig, told: str | None
) -> None:
    directory = with_profile(tmp_path, contest=None if gain is None else contest(gain))
    with caplog.at_level(logging.INFO):
        chosen = choose_policy(config, directory, load_chat_model(directory))
    chosen.close()
    assert (chosen.name, chosen.warns) == ("load-aware", False)
    assert chosen.note is None if told is None else str(chosen.note).startswith(told)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("measured", "served", "warned"), [(1, 1, False), (1, 3, True), (4, 1, True), (None, 2, False)]
)
def test_other_threads_than_the_calibration_s_are_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, measured: int | None, served: int, *, warned: bool
) -> None:
    directory = with_profile(tmp_path, provenance={} if measured is None else {"threads": measured})
    config = ServeConfig(policy=LoadAware(), threads=served)
    with caplog.at_level(logging.WARNING):
        choose_policy(config, directory, load_chat_model(directory)).close()
    told = [one.getMessage() for one in caplog.records]
    assert told == ([] if not warned else [told[0]])
    if warned:
        assert f"measured with threads at {measured}, served is with {served}" in told[0]


def test_calibration_and_serving_have_the_same_threads_unless_told_otherwise() -> None:
    measured = read_profile(bundled_model() / FILE_NAME).provenance["threads"]
    assert ServeConfig().threads == default_threads() == measured


@pytest.mark.parametrize("setting", ["controller", "decision_log"])
def test_what_only_a_controller_reads_is_refused_where_there_is_none(worthless: Path, setting: str) -> None:
    config = ServeConfig(**{setting: worthless / "file"})  # type: ignore[arg-type]  # the setting's name is its own
    with pytest.raises(ConfigError, match=r"file, but the policy is none, not load-aware: the profile certifies not"):
        choose_policy(config, worthless, load_chat_model(worthless))


@pytest.mark.parametrize(
    ("kept", "config", "head_start_s", "told"),
    [
        (5.0, {}, 5.0, "simulated at 170% of capacity, a reply takes 8.00 s"),
        (5.0, {"policy": FixedThreshold()}, 5.0, "simulated at 170% of capacity"),
        (5.0, {"pauses": True}, 5.0, "simulated at 170% of capacity"),
        (0.0, {}, 0.0, "simulated on the profile's records, no head start"),
        (5.0, {"head_start_s": 0.0}, 0.0, None),
        (5.0, {"head_start_s": 2.0}, 2.0, None),
        (5.0, {"shortest_first": True}, math.inf, None),
        (None, {}, 0.0, None),
    ],
)
def test_the_profile_s_order_serves_unless_another_is_named(
    tmp_path: Path, kept: float | None, config: dict[str, Any], head_start_s: float, told: str | None
) -> None:
    crowded = load(1.7, (0.0, 10.0, 20.0), (5.0, 8.0, 21.0))
    directory = with_profile(tmp_path, order=None if kept is None else choice(kept, crowded))
    chosen = choose_policy(ServeConfig(**config), directory, load_chat_model(directory))
    chosen.close()
    assert chosen.order.order.head_start_s == head_start_s
    assert chosen.order_note is None if told is None else str(chosen.order_note).startswith(told)
    assert (chosen.order.forecast is None) == (head_start_s == 0.0)
    assert chosen.order.pauses == config.get("pauses", False)
    said = report(chosen).order
    assert said is not None
    assert said.head_start_s == (None if math.isinf(head_start_s) else head_start_s)
    assert said.note == chosen.order_note


def test_pauses_need_an_order_in_which_somebody_goes_before(tmp_path: Path) -> None:
    directory = with_profile(tmp_path, order=None)
    with pytest.raises(ConfigError, match="pauses is true, but the profile has no head start, and head_start_s is not"):
        choose_policy(ServeConfig(pauses=True), directory, load_chat_model(directory))


def test_a_thinking_format_that_the_profile_was_not_made_with_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("answer_reserve: 100\n", encoding="utf-8")
    chat = load_chat_model(bundled_model(), file)
    with pytest.raises(OtherFormatError, match=r"leave --thinking out, .*; with --threshold, or a --policy"):
        choose_policy(ServeConfig(thinking=file), bundled_model(), chat)
    chosen = choose_policy(ServeConfig(thinking=file, policy=Auto(threshold=0.8)), bundled_model(), chat)
    assert (chosen.name, chosen.profile) == ("fixed", None)
    assert caplog.text.count("the format in use is another") == 1


def test_a_score_that_the_profile_was_not_made_with_is_refused_unless_the_policy_is_named() -> None:
    chat = load_chat_model(bundled_model())
    with pytest.raises(ProfileError, match=r"with score (\w+), served is minimum: give --score \1;"):
        choose_policy(ServeConfig(score=Score.MINIMUM), bundled_model(), chat)
    chosen = choose_policy(ServeConfig(score=Score.MINIMUM, policy=FixedThreshold()), bundled_model(), chat)
    assert (chosen.name, chosen.profile) == ("fixed", None)
