"""What stands under deploy/ and the example keys fit the server that they are for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from controller.serving.request import NO_THOUGHT, ExitReason, Outcome, Thought
from controller.status import DecisionSource
from engine.base import FinishReason
from laser.cli.main import main
from laser.server.config import ServeConfig
from laser.server.keys import KeyFile
from laser.server.telemetry.metrics import Gauge, Metrics
from models.files.strict_yaml import ConfigError, read

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def outcome() -> Outcome:
    thought = Thought(
        exit_reason=ExitReason.CONFIDENCE, threshold=0.9, budget=None, confidence=0.95, ids=(1, 2, 3),
        withdrawn_tokens=1, probes=2, probe_rows=5,
    )  # fmt: skip
    return Outcome(
        finish_reason=FinishReason.STOP, prompt_tokens=7, completion_tokens=9, thought=thought, queue_s=0.1,
        total_s=1.0, ttft_s=0.2,
    )  # fmt: skip


def series() -> dict[str, list[dict[str, str]]]:
    """Returns every metric that a load-aware server has, and the labels of its series; of gauges, only of `rung`."""
    source = (ROOT / "laser" / "server" / "telemetry" / "metrics.py").read_text(encoding="utf-8")
    of_gauges = re.findall(r'"(laser_\w+)"', source.partition("def gauges(")[2])
    found: dict[str, list[dict[str, str]]] = {name: [{}] for name in of_gauges}
    found["up"] = [{}]  # Prometheus' own
    found["laser_controller_rung"] = [{"rung": rung.value} for rung in DecisionSource]
    for family in text_string_to_metric_families(Metrics("m", list).text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


SERIES = series()


def expressions() -> Iterator[str]:
    """Yields what the Grafana page and the alert rules ask."""
    page = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
    yield from (target["expr"] for panel in page["panels"] for target in panel["targets"])
    yield from (rule["expr"] for rule in rules())


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metrics_of(expression: str) -> list[tuple[str, dict[str, str]]]:
    """Returns every metric that a PromQL expression asks, and what it wants of the metric's labels, as patterns."""
    plain = re.sub(r"\[[^]]*\]|\b(by|without) \([^)]*\)", "", expression)
    found = []
    for name, wants in re.findall(r"\b([a-zA-Z_]\w*)(?!\w|\s*\()(?:\{([^}]*)\})?", plain):
        wanted = {
            label: value if how == "=~" else re.escape(value)
            for label, how, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', wants)
        }
        assert wants == "" or wanted, expression
        found.append((name, wanted))
    return found


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_what_grafana_and_the_alerts_ask_is_there(expression: str) -> None:
    assert expression.count("(") == expression.count(")")
    asked = metrics_of(expression)
    assert asked
    for name, wanted in asked:
        assert name in SERIES
        own = {label: pattern for label, pattern in wanted.items() if label not in ("job", "instance")}
        assert any(
            all(re.fullmatch(pattern, labels.get(label, "")) for label, pattern in own.items())
            for labels in SERIES[name]
        )


@pytest.mark.parametrize(
    ("expression", "asked"),
    [
        ("sum by (le) (rate(a_bucket[5m])) > 0.5", [("a_bucket", {})]),
        ('a{rung="safe point"} == 1', [("a", {"rung": r"safe\ point"})]),
        ('rate(a_total{status=~"500|503",job="laser"}[5m])', [("a_total", {"status": "500|503", "job": "laser"})]),
        ("a > 0.05 * b", [("a", {}), ("b", {})]),
    ],
)
def test_metrics_are_found_in_an_expression(expression: str, asked: list[tuple[str, dict[str, str]]]) -> None:
    assert metrics_of(expression) == asked


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules()) > 5
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "todo"}


def test_the_scrape_example_fits_the_rules_and_the_server() -> None:
    said = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = said["scrape_configs"]
    assert [DEPLOY / file for file in said["rule_files"]] == [DEPLOY / "alerts.yaml"]
    assert 'job="laser"' in " ".join(expressions())
    assert job["job_name"] == "laser"
    assert job["authorization"]["type"] == "Bearer"  # as laser/server/gate.py wants it; the key is in no file of ours
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{ServeConfig().port}"]}]
    assert "metrics_path" not in job  # its default is the server's


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


@pytest.mark.parametrize("file", ["laser.service", "Containerfile", "Containerfile.cuda"])
def test_the_service_and_the_containers_use_flags_that_there_are(file: str) -> None:
    known = CliRunner().invoke(main, ["serve", "--help"]).output
    lines = (DEPLOY / file).read_text(encoding="utf-8").splitlines()
    told = " ".join(line for line in lines if "laser serve" in line or "LASER_ARGS" in line or line.startswith("CMD"))
    flags = set(re.findall(r" \"?(--[a-z-]+)", told.partition("ENTRYPOINT")[2] or told))
    flags |= {flag for said in re.findall(r'LASER_ARGS="([^"]*)"', told) for flag in re.findall(r"--[a-z-]+", said)}
    assert len(flags) >= 2
    assert {flag for flag in flags if flag not in known} == set()


@pytest.mark.parametrize("file", ["Containerfile", "Containerfile.cuda"])
def test_a_container_takes_arguments_from_the_environment_and_behind_the_image(file: str) -> None:
    lines = (DEPLOY / file).read_text(encoding="utf-8").splitlines()
    said = {line.split(" ")[0]: line.partition(" ")[2] for line in lines}
    entry, usual = json.loads(said["ENTRYPOINT"]), json.loads(said["CMD"])
    shell, option, script, *name = entry
    telling = [shell, option, script.replace("/opt/laser/bin/laser", "echo"), *name]
    variables = {"LASER_ARGS": "--model /model --thinking qwen3"}
    for own, last in ((usual, "--keys /etc/laser/keys.yaml"), (["--name", "my model"], "--name my model")):
        done = subprocess.run([*telling, *own], capture_output=True, text=True, env=variables, check=True)
        assert done.stdout == f"serve --host 0.0.0.0 --log-format json --model /model --thinking qwen3 {last}\n"
    assert any("Not built yet" in line for line in lines[:3])


def test_the_service_has_time_to_drain() -> None:
    stop = re.search(r"TimeoutStopSec=(\d+)", (DEPLOY / "laser.service").read_text(encoding="utf-8"))
    assert stop is not None
    assert int(stop[1]) > ServeConfig().drain_s


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize(("file", "most"), [("laser.service", 2.9), ("laser-gpu.conf", 2.9)])
def test_the_service_is_as_closed_as_it_says(tmp_path: Path, file: str, most: float) -> None:
    shutil.copy(DEPLOY / "laser.service", tmp_path)
    if file != "laser.service":
        (tmp_path / "laser.service.d").mkdir()
        shutil.copy(DEPLOY / file, tmp_path / "laser.service.d" / "own.conf")
    line = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(tmp_path / "laser.service")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    if "offline" in done.stderr:
        pytest.skip("this systemd-analyze is older than 250")
    measured = re.search(r"exposure level for laser\.service: ([\d.]+)", done.stdout)
    said = re.search(r"rates .* ([\d.]+) of 10", (DEPLOY / file).read_text(encoding="utf-8"))
    assert measured is not None
    assert said is not None
    assert float(measured[1]) <= most
    assert abs(float(measured[1]) - float(said[1])) < 0.35  # systemd's releases rate a little differently
