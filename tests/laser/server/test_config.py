"""The server's configuration: strict in the file, and flag before file before default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.exllama.config import CacheType
from engine.registry import EngineKind
from engine.torch.config import Runner
from laser.server.config import ServeConfig, load_config
from models.files.strict_yaml import ConfigError


def written(directory: Path, text: str) -> Path:
    path = directory / "serve.yaml"
    path.write_text(text)
    return path


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, "threshold: 0.5\nport: 9000\nmodel: here\nrunner: bare\n")
    config = load_config(file, {"port": 9001, "threshold": None, "early_exit": None})
    assert config == ServeConfig(threshold=0.5, port=9001, model=tmp_path / "here", runner=Runner.BARE)
    assert load_config(file, {"runner": "transformers"}).runner is Runner.TRANSFORMERS
    assert load_config(None, {}) == ServeConfig()


def test_engine_and_cache_are_chosen_by_name(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "engine: exllama\ncache_type: q6\n"), {"engine": "torch"})
    assert (config.engine, config.cache_type) == (EngineKind.TORCH, CacheType.Q6)
    with pytest.raises(ConfigError, match=r"serve\.yaml:1: .*cache_type.*q5.*fp16, q8, q6, q4"):
        load_config(written(tmp_path, "cache_type: q5\n"), {})


def test_a_misspelt_key_is_named_with_file_and_line(tmp_path: Path) -> None:
    file = written(tmp_path, "port: 9000\nthreshhold: 0.5\n")
    with pytest.raises(ConfigError, match=r"serve\.yaml:2: unknown key `threshhold`; did you mean `threshold`\?"):
        load_config(file, {})


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"threshold": 0.0}, r"threshold is 0\.0, must lie in \(0, 1\]"),
        ({"threshold": 1.01}, r"threshold is 1\.01, must lie in \(0, 1\]"),
        ({"threshold": float("nan")}, r"threshold is nan"),
        ({"port": -1}, "port is -1, must be at least 0"),
        ({"port": 70000}, "port is 70000, must be at most 65535"),
        ({"policy": "margin", "margin": -1.0}, r"margin is -1\.0, must be finite and at least 0"),
        ({"budget": -1}, "budget is -1, must be at least 0"),
        ({"max_batch": 0}, "max_batch is 0, must be at least 1"),
        ({"cells": 0}, "cells is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"default_max_tokens": 0}, "default_max_tokens is 0"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_limit(tmp_path: Path, flags: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(None, flags)
    text = "".join(f"{name}: {'.nan' if value != value else value}\n" for name, value in flags.items())
    with pytest.raises(ConfigError, match=rf"serve\.yaml:\d+: .*{told}"):
        load_config(written(tmp_path, text), {})
