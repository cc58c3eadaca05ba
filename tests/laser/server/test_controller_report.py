"""The load-aware policy behind a real server, and GET /laser/controller."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from benchmarks.burst import Traffic, draw, drive_and_watch, summary
from controller.decision_log import read_decisions
from controller.policies.load_aware import LoadAware
from controller.policies.none import FullThought
from controller.policies.paper import Paper
from controller.replay import replay
from laser.server.config import ServeConfig, load_config
from laser.server.deployment import deploy
from models.chat_model import load_chat_model
from models.files.strict_yaml import ConfigError
from models.profile.corners import corners
from models.profile.identity import identify
from models.profile.profile import FILE_NAME, Profile, ProfileError, write_profile
from tests.support.analysis_profile import made_profile
from tests.support.live_server import LiveServer, running, save_random_model, wait_until

PATH = "/laser/controller"
OWN = "tests.support.toy_policy:Halving"


def seen(server: LiveServer) -> dict[str, object]:
    response = httpx.get(server.url + PATH, trust_env=False)
    assert response.status_code == 200
    found: dict[str, object] = response.json()
    return found


def status(server: LiveServer) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/laser/status", trust_env=False).raise_for_status().json()
    return found


@pytest.fixture(scope="session")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Profile]:
    """A random model with a profile, though not a true one."""
    directory = save_random_model(tmp_path_factory.mktemp("profiled"))
    identity = identify(directory, load_chat_model(directory).thinking.format)
    profile = dataclasses.replace(made_profile(certified_to=5), model=identity)
    write_profile(directory / FILE_NAME, profile)
    return directory, profile


@pytest.mark.slow
def test_a_profiled_model_is_served_load_aware_and_a_burst_moves_its_limits(
    profiled: tuple[Path, Profile], tmp_path: Path
) -> None:
    directory, profile = profiled
    settings, log = tmp_path / "controller.yaml", tmp_path / "decisions.jsonl"
    # waiting weighs so much that even the seconds of a small model move budgets, too
    settings.write_text("outer_s: 1.0\ninner_s: 0.1\nobjective:\n  latency_weight: 0.5\n  threshold_rate: 0.5\n")
    traffic = Traffic(calm=2.0, factor=20.0, calm_s=2.0, burst_s=2.0)
    config = ServeConfig(model=directory, controller=settings, decision_log=log)
    with running(config) as server:
        wait_until(lambda: seen(server)["rung"] == "policy map")
        calm = seen(server)
        run = asyncio.run(drive_and_watch(server.url, traffic, np.random.default_rng(0)))
        settings.write_text("outer_s: 1.0\nobjective:\n  slo_s: [1.0, 2.0, 600.0]\n")
        wait_until(lambda: seen(server)["slo_s"] == {"easy": 1.0, "medium": 2.0, "hard": 600.0})
        wait_until(lambda: status(server)["slo_s"] == {"easy": 1.0, "medium": 2.0, "hard": 600.0})
        assert status(server)["latency"]["slo"]["hard"]["within"] == 1.0
        settings.write_text("outer_s: 1.0\nrho_max: 0.9\n")
        wait_until(lambda: bool(seen(server)["problems"]))
        assert "unknown key `rho_max`" in str(seen(server)["problems"])
        assert str(tmp_path) not in str(seen(server)["problems"])
        told = server.post(max_tokens=8, laser={"difficulty": "easy"}).json()["laser"]
        assert told["difficulty"] == "easy"
    assert calm["policy"] == "load-aware"
    assert calm["problems"] == []
    certified = {(point.threshold, point.budget) for point in profile.points()}
    places = [place for one in run.samples for place in one.controller["limits"].values()]
    assert {(place["threshold"], place["budget"]) for place in places} <= certified
    prices = [one.controller["prices"]["token_now"] for one in run.samples]
    assert min(prices) < max(prices)
    budgets = [one.controller["limits"]["hard"]["budget"] or 640 for one in run.samples]
    shortest = min(budget or 640 for _, budget in certified)  # on a starved machine even the calm is a burst
    assert min(budgets) < max(budgets) or set(budgets) == {shortest}
    rates = [one.controller["load"]["rate"]["value"] for one in run.samples]
    assert max(rates) > 3 * rates[0]
    assert summary(run, traffic)["failed"] == 0
    assert {one.difficulty for one in run.done} <= set(profile.classes)
    picture = tmp_path / "burst.png"
    draw(picture, run, traffic)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert replay(profile, read_decisions(log, len(profile.classes))).same


@pytest.mark.parametrize(
    ("options", "policy", "limits"),
    [
        ({"threshold": 0.8}, "fixed", {"threshold": 0.8, "budget": None}),
        ({"early_exit": False}, "fixed", {"threshold": None, "budget": None}),
        ({"policy": "fixed"}, "fixed", {"threshold": 0.9, "budget": None}),
        ({"policy": "budget", "budget": 100}, "budget", {"threshold": None, "budget": 100}),
        ({"policy": "none"}, "none", {"threshold": None, "budget": None}),
        ({"policy": "paper"}, "paper", {"threshold": 0.97, "budget": None}),
        ({"policy": "no-thinking"}, "no-thinking", {"threshold": None, "budget": 0}),
        ({"policy": "load-table"}, "load-table", {"threshold": None, "budget": None}),
        (
            {"policy": "consistency", "every": 32},
            "consistency",
            {"threshold": None, "budget": None, "agree": 3, "every": 32},
        ),
        ({"policy": "margin"}, "margin", {"threshold": None, "budget": None, "margin": 6.0}),
        ({"policy": OWN, "assignments": ("above=2",)}, OWN, {"threshold": None, "budget": 40}),
    ],
)
def test_other_policies_say_who_they_are(
    profiled: tuple[Path, Profile], options: dict[str, object], policy: str, limits: dict[str, object]
) -> None:
    with running(load_config(None, {"model": profiled[0], **options})) as server:
        told = seen(server)
    assert told["policy"] == policy
    unset = {
        "agree": None, "margin": None, "exits": {}, "every": None, "give_up": None, "index": None, "skip": None,
        "width": 1, "vote": False,
    }  # fmt: skip
    assert told["limits"] == {"any": {**unset, **limits}}
    assert told["rung"] is None
    assert told["certified"] == {
        "risk": profiled[1].certificate.epsilon,
        "mean_risk": None,
        "confidence": 1.0 - profiled[1].certificate.delta,
        "corners": [{"threshold": one.threshold, "budget": one.budget} for one in corners(profiled[1])],
        "lowest_threshold": min(point.threshold or 1.0 for point in profiled[1].points()),
        "smallest_budget": min(point.budget or 9999 for point in profiled[1].points()),
    }


def test_an_account_of_risk_is_told_of_and_its_requests_are_counted(profiled: tuple[Path, Profile]) -> None:
    policy = LoadAware(risk=0.02, risk_peak=0.1)
    with running(ServeConfig(model=profiled[0], policy=policy)) as server:
        wait_until(lambda: seen(server)["risk"] is not None)
        server.post(max_tokens=8)
        server.post(max_tokens=8, laser={"early_exit": False})
        at = seen(server)["uptime_s"]
        wait_until(lambda: seen(server)["uptime_s"] > at)  # both are told once the controller has looked again
        told = seen(server)
        metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
    account, certified = told["risk"], told["certified"]
    assert isinstance(account, dict)
    assert isinstance(certified, dict)
    assert (account["risk"], account["peak"], account["requests"]) == (
        0.02,
        0.1,
        1,
    )  # who is not shortened does not pay
    assert 0.0 <= account["spent"] <= 0.02
    assert account["charged"] == account["spent"]
    assert (certified["risk"], certified["mean_risk"]) == (0.1, 0.02)
    assert "laser_risk_requests 1.0" in metrics


def test_without_a_profile_the_policy_is_fixed_and_says_why(random_model: Path) -> None:
    with running(ServeConfig(model=random_model)) as server:
        told = seen(server)
        assert server.post(max_tokens=8).json()["laser"]["difficulty"] is None
    assert (told["policy"], told["certified"]) == ("fixed", None)
    assert str(told["note"]).startswith("profile.json does not exist")


@pytest.mark.parametrize("policy", [LoadAware(), Paper()])
def test_a_policy_that_needs_a_profile_says_so(random_model: Path, policy: LoadAware | Paper) -> None:
    with pytest.raises(ProfileError, match="needs a profile"):
        deploy(ServeConfig(model=random_model, policy=policy))


def test_a_profile_of_another_model_is_not_used(
    random_model: Path, profiled: tuple[Path, Profile], tmp_path: Path
) -> None:
    for file in random_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    said = json.loads((profiled[0] / FILE_NAME).read_text())
    (tmp_path / FILE_NAME).write_text(json.dumps({**said, "sha256": "0" * 64}))
    deployment = deploy(ServeConfig(model=tmp_path))
    assert deployment.chosen.name == "fixed"
    assert "it was damaged or edited" in str(deployment.chosen.note)


def test_a_prompt_s_class_is_told_in_the_reply(profiled: tuple[Path, Profile]) -> None:
    with running(ServeConfig(model=profiled[0], policy=FullThought())) as server:
        assert server.post(max_tokens=8).json()["laser"]["difficulty"] in profiled[1].classes


def test_a_budget_policy_needs_a_budget() -> None:
    with pytest.raises(ConfigError, match="policy is budget, which needs one"):
        load_config(None, {"policy": "budget"})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' /dev/full, a disk that is always full")
def test_a_full_disk_under_the_decision_log_is_told_and_serving_goes_on(profiled: tuple[Path, Profile]) -> None:
    with running(ServeConfig(model=profiled[0], decision_log=Path("/dev/full"))) as server:
        assert server.post(max_tokens=8).status_code == 200
        wait_until(lambda: any("No space left" in problem for problem in told_problems(server)))
        assert server.post(max_tokens=8).status_code == 200


def told_problems(server: LiveServer) -> list[str]:
    problems = seen(server)["problems"]
    assert isinstance(problems, list)
    return problems
