"""An engine is added by one new file and one line of the registry: opened, served, refused by name, and listed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.base import Request, Sampling, UnsupportedError
from engine.registry import ENGINES, engine_options, kinds
from laser.cli.main import main
from laser.server.config import load_config
from tests.support.live_server import running
from tests.support.parrot_engine import ParrotOptions


@pytest.fixture(autouse=True)
def parrot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line."""
    monkeypatch.setitem(ENGINES, "parrot", "tests.support.parrot_engine:ParrotOptions")


def test_an_engine_of_one_s_own_serves_a_thought_and_an_answer(tmp_path: Path, random_model: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("thinking: default\nengine:\n  kind: parrot\n  max_batch: 2\n")
    config = load_config(file, {"model": random_model, "name": "parrot"})
    assert config.engine == ParrotOptions(max_batch=2)
    with running(config) as server:
        done = server.post(max_tokens=400).json()
        message, laser = done["choices"][0]["message"], done["laser"]
        assert message["content"] == "Pieces of eight!"
        assert (
            message["reasoning_content"].strip() == "Let me see, let me see, let me see, let me see.\n\nWait, I know."
        )
        assert (done["choices"][0]["finish_reason"], laser["exit_reason"]) == ("stop", "natural")
        assert laser["probes"] > 0
        budgeted = server.post(max_tokens=400, thinking_budget=3).json()
        assert budgeted["laser"]["exit_reason"] == "budget"
        server.wait_for_load(running=0, waiting=0)


def test_what_it_lacks_is_refused_by_name(random_model: Path) -> None:
    engine = engine_options("parrot", {"cells": 512, "runner": "none of its options"}).open(random_model).engine
    with pytest.raises(UnsupportedError, match=r"temperature is 0\.5, must be 0: the parrot engine has no sampling"):
        engine.submit(Request(prompt=(1, 2), max_new_tokens=9, sampling=Sampling(temperature=0.5)))


@pytest.mark.parametrize("command", ["serve", "evaluate"])
def test_help_lists_it(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    assert kinds() == ("auto", "torch", "exllama", "llamacpp", "parrot")
    for module in ("laser.cli.common.options", f"laser.cli.{command}"):  # they read the registry when they are imported
        importlib.import_module(module)
        monkeypatch.delitem(sys.modules, module)  # and put back
    assert "[auto|torch|exllama|llamacpp|parrot]" in CliRunner().invoke(main, [command, "--help"]).output
