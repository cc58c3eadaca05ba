"""What the log says of a server at its start."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.policies.budget import FixedBudget
from controller.policies.load_aware import LoadAware
from controller.serving.ordering.turns import ServingOrder
from laser.cli.serve import announce
from laser.server.config import ServeConfig
from laser.server.deployment import Deployment, deploy
from laser.server.telemetry.logs import JsonFormatter, LogFormat, TextFormatter
from laser.server.telemetry.startup import certified, facts, in_short, loading, tell
from models.chat_model import load_chat_model
from models.files.strict_yaml import read
from models.profile.certificate import certify
from models.profile.identity import identify
from models.profile.profile import FILE_NAME, Profile, write_profile
from models.score import Score
from models.thinking import ThinkingFormat, ThinkingTokens, format_file
from tests.support.analysis_profile import made_profile
from tests.support.give_up_profile import giving_up_profile
from tests.support.live_server import LiveServer, running_deployment, save_random_model
from tests.support.model_profile import PROFILE
from tests.support.no_thought_profile import no_thought_profile
from tests.support.price_index_profile import price_index_profile


@pytest.fixture(scope="module")
def deployed(random_model: Path) -> Deployment:
    return deploy(ServeConfig(model=random_model, cells=4096, max_batch=3, log_format=LogFormat.JSON))


def words(deployment: Deployment) -> dict[str, str]:
    return {each.topic: each.words for each in facts(deployment)}


def test_the_start_tells_what_serves(deployed: Deployment, random_model: Path) -> None:
    told = words(deployed)
    assert list(told) == ["model", "engine", "context", "thinking", "signal", "policy", "certified"]
    assert told["model"].startswith(f"{random_model.name}, ")
    assert told["model"].endswith(f"K parameters, stored as F32 (32 bits each), from {random_model.resolve()}")
    engine, _, why = told["engine"].partition("; ")
    assert engine == "torch, bare forward pass, computed in float32, on cpu, 1 thread"
    assert why.startswith("not ExLlamaV2, since ")
    assert "KV cache of 4,096 tokens; at most 3 sequences at once" in told["context"]
    assert told["thinking"].startswith("<think> … </think>, qwen3, told by its type qwen3 and its chat template; ")
    assert told["signal"] == "confidence (geometric_mean)"
    assert told["policy"].startswith("fixed, threshold 0.9; profile.json does not exist; `laser calibrate` measures it")
    assert told["certified"] == "nothing: there is no profile"


def test_how_a_model_without_markers_is_served_is_told(deployed: Deployment) -> None:
    for name, said in (("plain", "none, named; a request may"), ("open", "in the content, named; the answer begins")):
        thinking = ThinkingTokens(read(format_file(name), ThinkingFormat), deployed.chat.tokenizer)
        chat = replace(deployed.chat, thinking=thinking, format_source="named")
        assert words(replace(deployed, chat=chat))["thinking"].startswith(said)


def test_what_is_named_or_switched_off_is_told(deployed: Deployment) -> None:
    config = replace(deployed.config, threads=2, score=Score.JOINT)
    told = words(replace(deployed, config=config))
    assert told["signal"] == "confidence (joint)"
    assert ", 2 threads; not ExLlamaV2, since " in told["engine"]
    chosen = replace(deployed.chosen, name="budget", settings=(made := FixedBudget(budget=80)), note=None)
    made_policy = made.make(None)  # type: ignore[arg-type]  # a budget needs nothing
    told = words(replace(deployed, chosen=replace(chosen, policy=made_policy.policy)))
    assert told["policy"] == "budget, budget 80"
    assert told["signal"] == "none: running thoughts are not probed"


def test_an_order_that_is_not_first_come_is_told_with_its_bound(deployed: Deployment) -> None:
    order = ServingOrder.of(made_profile(), head_start_s=7.776, pauses=True)
    chosen = replace(deployed.chosen, order=order, order_note="simulated")
    told = words(replace(deployed, chosen=chosen))["order"]
    overtaken = "longer ones that came up to 7.78 s before it, running ones pause for it"
    assert told == f"a request predicted short may overtake {overtaken}; simulated"
    shortest = replace(chosen, order=ServingOrder.of(made_profile(), head_start_s=math.inf), order_note=None)
    (said,) = [each for each in facts(replace(deployed, chosen=shortest)) if each.topic == "order"]
    assert (said.words, said.fields["head_start_s"]) == ("shortest first, without a bound on the wait", None)


def test_a_policy_whose_note_tells_of_a_fault_is_a_warning(
    deployed: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="laser.start"):
        tell(replace(deployed, chosen=replace(deployed.chosen, warns=True)))
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith("policy    fixed, threshold 0.9; ")


def test_each_fact_is_a_record_with_fields_in_json_and_a_line_with_its_time_in_text(
    deployed: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="laser.start"):
        tell(deployed)
    said = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    engine, context = said[1], said[2]
    assert (engine["topic"], engine["engine"], engine["device"], engine["threads"]) == ("engine", "torch", "cpu", 1)
    assert (context["cells"], context["max_batch"], context["context"]) == (4096, 3, deployed.loop.room)
    assert said[0]["parameters"] > 0
    assert said[6]["certified"] is None
    line = TextFormatter().format(caplog.records[1])
    assert line.endswith(f" INFO laser.start: engine    {words(deployed)['engine']}")


def test_loading_shows_itself_before_and_its_time_afterwards(
    random_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter((10.0, 12.345))
    with caplog.at_level(logging.INFO, logger="laser.start"), loading(ServeConfig(model=random_model), times.__next__):
        assert [record.getMessage() for record in caplog.records] == [f"loading   {random_model.resolve()} …"]
    assert caplog.records[-1].getMessage() == "loaded    in 2.3 s"


@pytest.fixture
def live(deployed: Deployment) -> Iterator[LiveServer]:
    with running_deployment(deployed) as server:
        yield server


def test_the_ready_line_is_a_record_where_the_log_is_json(
    live: LiveServer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="laser.start"):
        announce(live.service, live.url, None)
    (record,) = [each for each in caplog.records if each.name == "laser.start"]
    said = json.loads(JsonFormatter().format(record))
    assert (said["topic"], said["url"], said["model"]) == ("ready", live.url, live.service.model_id)
    assert said["message"].startswith(f"{live.service.model_id} is ready at {live.url} ")
    assert capsys.readouterr().out == ""


def test_what_is_certified_is_told_by_its_corners_with_its_risk() -> None:
    stairs = ((True, True), (True, True), (True, False))  # 0.80 alone, or 0.95 with the budget: never both
    told, said = certified(replace(PROFILE, certificate=replace(PROFILE.certificate, certified=stairs)))
    assert told == (
        "thresholds down to 0.80 without a budget; thresholds down to 0.95 with budgets from 120 tokens, "
        "at a risk of 0.1 with confidence 0.95"
    )
    assert said == {
        "risk": 0.1,
        "confidence": 0.95,
        "corners": [{"threshold": 0.8, "budget": None}, {"threshold": 0.95, "budget": 120}],
    }
    only = ((True, False), (False, False), (False, False))
    told, said = certified(replace(PROFILE, certificate=replace(PROFILE.certificate, certified=only)))
    assert told.startswith("none but the full thought, at a risk of ")
    assert said["corners"] == []


@pytest.mark.parametrize(
    ("count", "told"),
    [(999, "999"), (999_999, "1M"), (2_123_456, "2.12M"), (596_049_920, "596M"), (7_615_616_512, "7.62B")],
)
def test_parameters_are_told_in_three_digits(count: int, told: str) -> None:
    assert in_short(count) == told


def served(directory: Path, profile: Profile, policy: LoadAware) -> Deployment:
    """Returns a random model's deployment with a profile, though not a true one."""
    shutil.copytree(save_random_model(directory / "made"), directory / "model")
    identity = identify(directory / "model", load_chat_model(directory / "model").thinking.format)
    write_profile(directory / "model" / FILE_NAME, replace(profile, model=identity))
    return deploy(ServeConfig(model=directory / "model", policy=policy))


def test_the_corner_that_load_aware_keeps_to_is_told_where_there_are_others(tmp_path: Path) -> None:
    harmed = np.full((7, 5), 300)
    harmed[:5, :2] = harmed[:2, :4] = 0  # 0.80 from 400 tokens, 0.97 from 160
    profile = replace(made_profile(), certificate=certify(harmed, 600, epsilon=0.05, delta=0.05))
    told = {each.topic: each for each in facts(served(tmp_path, profile, LoadAware()))}["certified"]
    known, kept = told.words.split("; load-aware keeps to one corner of these: ")
    assert (
        "thresholds down to 0.80 with budgets from 400 tokens; thresholds down to 0.97 with budgets from 160" in known
    )
    assert kept == "thresholds down to 0.80 with budgets from 400 tokens"
    assert told.fields["certified"]["served"] == [{"threshold": 0.8, "budget": 400}]
    assert len(told.fields["certified"]["corners"]) == 2


def test_a_lever_that_the_corner_has_no_point_of_is_told(tmp_path: Path) -> None:
    both = replace(giving_up_profile(), no_thought=no_thought_profile(harmed=2).no_thought)
    told = {each.topic: each for each in facts(served(tmp_path, both, LoadAware(give_up=True, no_thought=True)))}
    said = told["certified"].words
    assert said.count(" lies in the corner that gives up least, so it is not used") == 1
    assert ("no point of give_up" in said) != ("no point of no_thought" in said)
    assert ("; in use, too: lower curves up to" in said) == ("no point of no_thought" in said)
    assert ("; in use, too: answers at once from" in said) == ("no point of give_up" in said)


def test_the_dearest_price_that_serves_is_told(tmp_path: Path) -> None:
    told = words(served(tmp_path, price_index_profile(), LoadAware(price_index=True)))
    assert "; in use, too: prices up to 0.003 of a right answer a row" in told["certified"]
