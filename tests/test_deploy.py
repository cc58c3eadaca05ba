"""What stands under deploy/ and the example keys fit the server that they are for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from controller.serving.request import NO_THOUGHT, ExitReason, Outcome, Thought
from engine.base import FinishReason
from laser.cli.main import main
from laser.server.config import ServeConfig
from laser.server.keys import KeyFile
from laser.server.telemetry.metrics import Gauge, Metrics
from models.files.strict_yaml import ConfigError, read

ROOT = Path(__file__).parents[1]


def outcome() -> Outcome:
    thought = Thought(
        exit_reason=ExitReason.CONFIDENCE, threshold=0.9, budget=None, confidence=0.95, ids=(1, 2, 3),
        withdrawn_tokens=1, probes=2, probe_rows=5,
    )  # fmt: skip
    return Outcome(
        finish_reason=FinishReason.STOP, prompt_tokens=7, completion_tokens=9, thought=thought, queue_s=0.1,
        total_s=1.0, ttft_s=0.2,
    )  # fmt: skip


def test_every_metric_on_the_grafana_page_is_one_that_the_server_has() -> None:
    page = json.loads((ROOT / "deploy" / "grafana.json").read_text(encoding="utf-8"))
    expressions = " ".join(target["expr"] for panel in page["panels"] for target in panel["targets"])
    asked = set(re.findall(r"laser_\w+", expressions))
    gauges = (ROOT / "laser" / "server" / "telemetry" / "metrics.py").read_text(encoding="utf-8")
    metrics = Metrics("m", list)
    metrics.ended(outcome())
    metrics.answered("/v1/chat/completions", 429)
    told = set(re.findall(r"laser_\w+", metrics.text().decode() + gauges))
    assert asked
    assert asked <= told


def test_the_counter_of_averted_markers_begins_at_zero_for_each_way_of_closing() -> None:
    def told(metrics: Metrics) -> dict[str, float]:
        lines = re.findall(r'laser_averted_markers_total\{close="(\w+)"\} (\S+)', metrics.text().decode())
        return {close: float(value) for close, value in lines}

    metrics = Metrics("m", list)
    assert told(metrics) == {"model": 0.0, "forced": 0.0, "prompt": 0.0}
    natural = replace(outcome().thought, exit_reason=ExitReason.NATURAL)
    metrics.ended(outcome())
    metrics.ended(replace(outcome(), averted=2))
    metrics.ended(replace(outcome(), averted=1, thought=natural))
    metrics.ended(replace(outcome(), averted=4, thought=NO_THOUGHT))
    assert told(metrics) == {"model": 1.0, "forced": 2.0, "prompt": 4.0}


def test_the_vllm_names_are_there_by_a_switch_only() -> None:
    waiting = Gauge(name="vllm:num_requests_waiting", help="", labels=(("model_name", "m"),), value=3.0)
    with_names, without = Metrics("m", lambda: [waiting], vllm=True), Metrics("m", list)
    for metrics in (with_names, without):
        metrics.ended(outcome())
    told = with_names.text().decode()
    for line in (
        'vllm:num_requests_waiting{model_name="m"} 3.0',
        'vllm:prompt_tokens_total{model_name="m"} 7.0',
        'vllm:generation_tokens_total{model_name="m"} 9.0',
        'vllm:request_success_total{finished_reason="stop",model_name="m"} 1.0',
        'vllm:time_to_first_token_seconds_sum{model_name="m"} 0.2',
        'vllm:inter_token_latency_seconds_sum{model_name="m"} 0.1',
        'vllm:e2e_request_latency_seconds_count{model_name="m"} 1.0',
        'vllm:request_queue_time_seconds_count{model_name="m"} 1.0',
    ):
        assert line in told
    assert "vllm" not in without.text().decode()


def test_the_example_keys_can_be_read_once_they_are_no_example(tmp_path: Path) -> None:
    example = (ROOT / "configs" / "keys.yaml").read_text(encoding="utf-8")
    (tmp_path / "keys.yaml").write_text(example.replace("key: change-me", "key: my-own"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"`keys\[1\]`: sha256 must be 64 hexadecimal digits"):
        read(tmp_path / "keys.yaml", KeyFile)  # nobody may use what is published
    own = example.replace("key: change-me", "key: my-own").replace("sha256: change-me", f"sha256: {'0a' * 32}")
    (tmp_path / "keys.yaml").write_text(own, encoding="utf-8")
    assert [key.admin for key in read(tmp_path / "keys.yaml", KeyFile).keys] == [False, False, True]


def test_the_service_and_the_container_use_flags_that_there_are() -> None:
    known = CliRunner().invoke(main, ["serve", "--help"]).output
    for file in ("laser.service", "Containerfile"):
        text = (ROOT / "deploy" / file).read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if "serve" in line or line.startswith("CMD")]
        flags = re.findall(r"--[a-z-]+", " ".join(lines))
        assert flags
        assert all(flag in known for flag in flags)
    stop = re.search(r"TimeoutStopSec=(\d+)", (ROOT / "deploy" / "laser.service").read_text(encoding="utf-8"))
    assert stop is not None
    assert int(stop[1]) > ServeConfig().drain_s
