"""The bundled model, served load-aware with answers at once: it says so in every dialect, in its metrics and report."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from laser.server.config import load_config
from models.profile.levers.no_thought_tables import CUT_OFFS
from models.profile.profile import profile_of, read_profile, write_profile
from models.reasoner import bundled_model
from tests.support.dialects import in_every_dialect, replied
from tests.support.live_server import WAIT_S, running
from tests.support.no_thought_profile import cut_off_tables

QUESTION = "Dan has 20 pens. Bob has 25 pens. How many pens do they have together?"
ASKED = [{"role": "user", "content": QUESTION}]
REPLIES = in_every_dialect("easy", QUESTION, 500)


@pytest.fixture
def easy(tmp_path: Path) -> Path:
    """The bundled model with a made profile whose switch lets no prompt need a thought, at no loss at all."""
    directory = tmp_path / "model"
    shutil.copytree(bundled_model(), directory, ignore=shutil.ignore_patterns("*.xz"))
    profile = read_profile(profile_of(bundled_model()))
    levels = np.stack([np.array(profile.certificate.harmed)] * (1 + len(CUT_OFFS)))
    made = cut_off_tables(profile, levels, lost=0.0, saved=0.19)
    assert made.refused is None
    write_profile(profile_of(directory), replace(profile, no_thought=made))
    return directory


def served(tmp_path: Path, *, no_thought: bool) -> Path:
    file = tmp_path / "serve.yaml"
    file.write_text(
        f"policy: {{kind: load-aware, no_thought: {str(no_thought).lower()}}}\nengine: {{kind: torch, max_batch: 2}}\n"
    )
    return file


def test_every_dialect_tells_that_a_prompt_was_answered_at_once(easy: Path, tmp_path: Path) -> None:
    file = served(tmp_path, no_thought=True)
    with running(load_config(file, {"model": easy, "name": "easy"})) as server:
        for path, body in REPLIES.items():
            laser = replied(server, path, body)["laser"]
            assert (path, laser["exit_reason"], laser["reasoning_tokens"]) == (path, "skipped", 0)
            assert laser["probes"] == 0
        for own in ({"early_exit": False}, {"answer": "open"}):
            asked = {"model": "easy", "messages": ASKED, "max_tokens": 500, "laser": {"answer": "short"} | own}
            reply = httpx.post(f"{server.url}/v1/chat/completions", json=asked, trust_env=False, timeout=WAIT_S)
            assert reply.json()["laser"]["reasoning_tokens"] > 0
        metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
        assert f'laser_replies_total{{exit_reason="skipped",finish_reason="stop"}} {len(REPLIES)}.0' in metrics
        limits = httpx.get(f"{server.url}/laser/controller", trust_env=False).json()["limits"]
        assert {each["skip"] for each in limits.values()} == {CUT_OFFS[-1]}


def test_unless_a_policy_wants_it_no_prompt_is_answered_at_once(easy: Path, tmp_path: Path) -> None:
    file = served(tmp_path, no_thought=False)
    with running(load_config(file, {"model": easy, "name": "easy"})) as server:
        reply = server.post(model="easy", messages=ASKED, max_tokens=500, laser={"answer": "short"})
        assert reply.json()["laser"]["exit_reason"] != "skipped"
        limits = httpx.get(f"{server.url}/laser/controller", trust_env=False).json()["limits"]
        assert {each["skip"] for each in limits.values()} == {None}
