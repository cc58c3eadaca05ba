"""The server's configuration: strict in the file, and flag before file before default."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.policies.auto import Auto
from controller.policies.consistency import Agreement
from controller.policies.fixed import FixedThreshold
from controller.policies.margin import ClosingMargin
from controller.policies.signal import SignalPolicy
from engine.exllama.config import CacheType
from engine.exllama.options import ExLlamaOptions
from engine.options import default_threads, spare_cores
from engine.registry import AutoOptions
from engine.torch.config import Runner
from engine.torch.options import TorchOptions
from laser.server.config import ServeConfig, load_config
from models.files.strict_yaml import ConfigError


def written(directory: Path, text: str) -> Path:
    path = directory / "serve.yaml"
    path.write_text(text)
    return path


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, "threshold: 0.5\nport: 9000\nmodel: here\nrunner: bare\n")
    config = load_config(file, {"port": 9001, "threshold": None, "early_exit": None})
    assert config == ServeConfig(policy=Auto(threshold=0.5), port=9001, model=tmp_path / "here", runner=Runner.BARE)
    assert load_config(file, {"runner": "transformers"}).runner is Runner.TRANSFORMERS
    assert load_config(None, {}) == ServeConfig()


def test_engine_and_cache_are_chosen_by_name(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "engine: exllama\ncache_type: q6\n"), {"engine": "torch"})
    assert (config.engine.kind, config.cache_type) == ("torch", CacheType.Q6)
    with pytest.raises(ConfigError, match=r"serve\.yaml:1:\d+: .*cache_type.*q5.*fp16, q8, q6, q4"):
        load_config(written(tmp_path, "cache_type: q5\n"), {})


def test_an_engine_s_options_stand_under_its_kind(tmp_path: Path) -> None:
    file = written(tmp_path, "engine: {kind: exllama, cache_type: q8, cells: 512, max_batch: 4}\n")
    options = ExLlamaOptions(cache_type=CacheType.Q8, cells=512, max_batch=4)
    assert load_config(file, {}).engine_options == options
    assert load_config(file, {"cells": 256}).engine_options == replace(options, cells=256)
    assert load_config(file, {"engine": "exllama"}).engine_options == options
    assert load_config(file, {"engine": "torch"}).engine_options == TorchOptions(cells=512, max_batch=4)
    assert ServeConfig().engine_options == AutoOptions()
    told: list[str] = []
    load_config(file, {}, told.append)
    assert told == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("engine: vllm", r"serve\.yaml:1:\d+: `engine` is 'vllm', must be one of auto, torch, exllama"),
        ("engine: {kind: vllm}", r"serve\.yaml:1:\d+: `engine\.kind` is 'vllm', must be one of auto, torch, exllama"),
        ("engine: {cells: 5}", r"serve\.yaml:1:\d+: `engine\.kind` is missing, must be one of auto, torch, exllama"),
        (
            "engine: {kind: torch, cache_type: q8}",
            r"unknown key `engine\.cache_type`; known keys: cells, max_b",
        ),
        ("engine: {kind: torch, max_batch: 0}", r"serve\.yaml:1:\d+: `engine`: max_batch is 0, must be at least 1"),
        ("cells: 5\nengine: {kind: auto, cells: 6}", r"serve\.yaml: `cells` and `engine\.cells` are both given"),
    ],
)
def test_an_engine_s_options_are_read_strictly(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(written(tmp_path, text), {})


def test_memory_kept_for_pauses_is_told_of_where_no_thought_pauses(tmp_path: Path) -> None:
    kept = "engine: {kind: llamacpp, paused: 8}\nhead_start_s: 2\n"
    with pytest.raises(ConfigError, match=r"serve\.yaml:1:\d+: engine\.paused is 8, but pauses is false"):
        load_config(written(tmp_path, kept), {})
    assert load_config(written(tmp_path, kept + "pauses: true\n"), {}).pauses


def test_the_old_keys_of_an_engine_s_options_hold_and_are_told_of(tmp_path: Path) -> None:
    file = written(tmp_path, "engine: {kind: torch, max_batch: 3}\ncells: 99\nrunner: bare\ncache_type: null\n")
    assert load_config(file, {}).engine_options == TorchOptions(cells=99, max_batch=3, runner=Runner.BARE)
    told: list[str] = []
    load_config(file, {}, told.append)
    (line,) = told
    assert line.endswith("runner, cells: the next release reads them as `engine: {kind: …, runner: …, cells: …}` only")


def test_a_misspelt_key_is_named_with_file_and_line(tmp_path: Path) -> None:
    file = written(tmp_path, "port: 9000\nthreshhold: 0.5\n")
    with pytest.raises(ConfigError, match=r"serve\.yaml:2:\d+: unknown key `threshhold`; did you mean `threshold`\?"):
        load_config(file, {})


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"policy": "fixed", "controller": Path("c.yaml")}, "controller is c.yaml, but policy is fixed, which has no"),
        ({"policy": "paper", "decision_log": Path("d")}, "decision_log is d, but policy is paper, which has no"),
        ({"threshold": 0.9, "controller": Path("c.yaml")}, "controller is c.yaml, but threshold is given"),
        ({"threshold": 0.9, "risk": 0.02}, "risk is 0.02, but threshold is given: so the policy is fixed"),
        ({"budget": 90, "risk_peak": 0.1}, "risk_peak is 0.1, but budget is given: so the policy is fixed"),
        ({"early_exit": False, "risk": 0.02}, "risk is 0.02, but early_exit is false: so the policy is fixed"),
        ({"early_exit": False, "controller": Path("c.yaml")}, "but early_exit is false: so the policy is fixed"),
        ({"policy": "load-aware", "threshold": 0.8}, "threshold is 0.8, but policy is load-aware, which has none"),
        ({"threshold": 0.8, "early_exit": False}, "threshold is 0.8, but early_exit is false: no thought is probed"),
        ({"policy": "fixed", "every": 9, "early_exit": False}, "every is 9, but early_exit is false"),
        ({"policy": "load-aware", "early_exit": False}, "early_exit is false, but policy is load-aware, which probes"),
        ({"policy": "margin", "early_exit": False}, "early_exit is false, but policy is margin, which probes"),
        ({"policy": "none", "score": "joint"}, "score is joint, but no thought is probed"),
        ({"early_exit": False, "score": "joint"}, "score is joint, but no thought is probed"),
        ({"metrics": False, "vllm_metrics": True}, "vllm_metrics is true, but metrics is false"),
        ({"shortest_first": True, "head_start_s": 2.0}, "head_start_s is 2, but shortest_first is true"),
        ({"shortest_first": True, "head_start_s": 0.0}, "head_start_s is 0, but shortest_first is true"),
        (
            {"pauses": True, "head_start_s": 0.0},
            "pauses is true, but head_start_s is 0: nobody goes before those that came first",
        ),
        (
            {"engine": "llamacpp", "pauses": True, "head_start_s": 2.0},
            "pauses is true, but thoughts cannot pause: the llamacpp engine has no pauses (its option `paused` is 0)",
        ),
        ({"head_start_s": -1.0}, "head_start_s is -1"),
        ({"head_start_s": math.nan}, "head_start_s is nan"),
        ({"public": True, "keys": Path("k.yaml")}, "public is true, but keys is k.yaml: public is for"),
        ({"allow_host": ("a",), "keys": Path("k.yaml")}, "allow_host is a, but keys is k.yaml: any name is served"),
        ({"allow_host": ("a",), "public": True}, "allow_host is a, but public is true: any name is served"),
    ],
)
def test_a_setting_that_has_no_use_beside_the_others_is_refused(flags: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_config(None, flags)


@pytest.mark.parametrize(
    "flags",
    [
        {"policy": "budgets-only", "early_exit": False, "controller": Path("c.yaml")},
        {"budget": 100, "early_exit": False},
        {"policy": "none", "early_exit": False},
        {"policy": "consistency", "score": "joint"},
        {"controller": Path("c.yaml"), "decision_log": Path("d.jsonl"), "risk": 0.1},
        {"public": True, "metrics": False},
        {"shortest_first": True, "head_start_s": math.inf},
        {"shortest_first": False, "head_start_s": 0.0},
    ],
)
def test_settings_that_go_together_are_taken(flags: dict[str, Any]) -> None:
    assert load_config(None, flags)


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
    with pytest.raises(ConfigError, match=rf"serve\.yaml:\d+:\d+: .*{told}"):
        load_config(written(tmp_path, text), {})


def test_a_policy_is_a_kind_or_a_mapping_with_its_settings(tmp_path: Path) -> None:
    told: list[str] = []
    file = written(tmp_path, "policy: {kind: fixed, threshold: 0.95}\n")
    assert load_config(file, {}, told.append).policy == FixedThreshold(threshold=0.95)
    assert load_config(file, {"budget": 300}, told.append).policy == FixedThreshold(threshold=0.95, budget=300)
    assert load_config(file, {"assignments": ("threshold=.8",)}).policy == FixedThreshold(threshold=0.8)
    assert load_config(file, {"policy": "consistency"}).policy == Agreement(threshold=0.95)
    assert load_config(written(tmp_path, "policy: margin\n"), {}, told.append).policy == ClosingMargin()
    assert told == []


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("policy: fixed\nthreshold: 0.95\n", FixedThreshold(threshold=0.95)),
        ("threshold: 0.95\nbudget: null\n", Auto(threshold=0.95)),
        ("every: 16\npolicy: consistency\nagree: 2\n", Agreement(agree=2, every=16)),
        ("policy: {kind: fixed, threshold: 0.95}\nbudget: 300\n", FixedThreshold(threshold=0.95, budget=300)),
        ("risk: null\n", Auto()),
    ],
)
def test_settings_beside_the_policy_are_still_read_with_a_word_of_warning(
    tmp_path: Path, text: str, policy: object
) -> None:
    told: list[str] = []
    assert load_config(written(tmp_path, text), {}, told.append).policy == policy
    assert len(told) == 1
    assert "beside `policy` will go: write `policy: {kind: …" in told[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "policy: {kind: fixed, threshold: 0.95}\nthreshold: 0.9\n",
            r"yaml:2:\d+: `threshold` and `policy\.threshold` are given, must be one of them",
        ),
        ("policy: none\nthreshold: 0.9\n", r"yaml:2:\d+: threshold is 0\.9, but policy is none, which has none"),
        ("policy: fixed\nthreshold: high\n", r"yaml:2:\d+: `policy\.threshold` is 'high', must be of type float"),
        ("policy: fixed\nthreshold: 0.9\nthreshold: 0.8\n", r"yaml:3:\d+: `policy\.threshold` is given twice"),
        ("policy: [fixed]\nthreshold: 0.9\n", r"yaml:1:\d+: `policy` must be a kind or a mapping"),
        ("policy: [fixed]\n", r"yaml:1:\d+: `policy` must be a mapping"),
        ("policy: {threshold: 0.9}\n", r"yaml:1:\d+: `policy\.kind` is missing, must be one of auto"),
        ("policy: fxied\n", r"yaml:1:\d+: `policy` is 'fxied', must be one of auto"),
        ("policy: null\n", r"yaml:1:\d+: `policy` is 'null', must be one of auto"),
        (
            "policy: {kind: fixed, treshold: 0.9}\n",
            r"yaml:1:\d+: unknown key `policy\.treshold`; did you mean `threshold`",
        ),
        ("policy: budget\n", r"yaml:1:\d+: `policy`: policy is budget, which needs one"),
    ],
)
def test_a_policy_that_cannot_be_is_told_with_file_line_and_key(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(written(tmp_path, text), {})


def test_a_signal_of_one_s_own_is_named_in_the_file(tmp_path: Path) -> None:
    text = 'policy: {kind: signal, signal: "tests.support.toy_signal:HalfSure", level: 0.8, budget: 40}\n'
    policy = load_config(written(tmp_path, text), {}).policy
    assert policy == SignalPolicy(signal="tests.support.toy_signal:HalfSure", level=0.8, budget=40)


def test_threads_are_those_of_the_flag_else_of_the_file_else_what_suits_the_engine(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    assert load_config(None, {}).threads == default_threads()
    assert load_config(None, {"model": model}).threads == spare_cores()
    assert load_config(None, {"model": model, "threads": 3}).threads == 3
    inside = written(tmp_path, f"model: {model}\nengine: {{kind: llamacpp, threads: 2}}\n")
    assert load_config(inside, {}).threads == 2
    flagged = load_config(inside, {"threads": 5})
    assert (flagged.threads, flagged.engine_options.on_threads(flagged.threads).threads) == (5, 5)
    twice = written(tmp_path, "threads: 2\nengine: {kind: llamacpp, threads: 2}\n")
    with pytest.raises(ConfigError, match=r"`threads` and `engine\.threads` are both given, must be one of them"):
        load_config(twice, {})
