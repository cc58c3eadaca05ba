"""Sampling settings of generation_config.json are used, or named."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from laser.server.config import ServeConfig
from laser.server.deployment import deploy
from models.chat_model import read_generation_defaults
from models.unused_settings import told, unused_settings
from tests.support.live_server import save_random_model


def saved(directory: Path, **settings: Any) -> Path:
    (directory / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return directory


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (
            {"do_sample": True, "temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05, "min_p": 0.05},
            ["min_p", "repetition_penalty"],
        ),
        ({"do_sample": True, "typical_p": 0.9, "no_repeat_ngram_size": 3}, ["typical_p", "no_repeat_ngram_size"]),
        (
            {"do_sample": True, "suppress_tokens": [5], "num_beams": 4, "max_new_tokens": 512},
            ["suppress_tokens", "num_beams", "max_new_tokens"],
        ),
        ({"temperature": 0.6, "top_p": 0.95}, ["temperature", "top_p"]),
        ({"do_sample": False, "temperature": 0.6}, ["temperature"]),
        ({"do_sample": True, "repetition_penalty": 1.0, "min_p": 0, "typical_p": None, "bad_words_ids": []}, []),
        ({"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "eos_token_id": 2}, []),
        ({"bos_token_id": 1, "transformers_version": "5.0.0", "top_k": 50, "temperature": 1.0}, []),
    ],
)
def test_what_is_set_and_not_used_is_found(tmp_path: Path, settings: dict[str, Any], names: list[str]) -> None:
    unused = unused_settings(saved(tmp_path, **settings))
    assert sorted(unused) == sorted(names)
    assert all(unused[name] == settings[name] for name in names)


def test_what_is_set_and_used_is_not_named(tmp_path: Path) -> None:
    defaults = read_generation_defaults(saved(tmp_path, do_sample=True, temperature=0.6, top_k=20, top_p=0.95))
    assert (defaults.temperature, defaults.top_k, defaults.top_p) == (0.6, 20, 0.95)


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "[" * 5000])
def test_a_file_that_others_refuse_names_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "generation_config.json").write_text(text, encoding="utf-8")
    assert unused_settings(tmp_path) == {}


def test_a_long_value_is_cut() -> None:
    assert told({"min_p": 0.05, "bad_words_ids": [[1]] * 100}) == f"min_p 0.05, bad_words_ids {str([[1]] * 100)[:40]}…"


def test_a_model_that_is_served_tells_at_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = saved(save_random_model(tmp_path), do_sample=True, temperature=0.6, repetition_penalty=1.05, min_p=0.05)
    with caplog.at_level(logging.WARNING, logger="laser.server"):
        deploy(ServeConfig(model=model))
    (line,) = [each.getMessage() for each in caplog.records if "generation_config" in each.getMessage()]
    assert line.endswith("has settings that are not used: min_p 0.05, repetition_penalty 1.05")
