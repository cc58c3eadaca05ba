"""Metrics tell of long replies, and count from 0 what is known to come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from controller.serving.request import NO_THOUGHT, ExitReason, Outcome
from engine.base import FinishReason
from laser.server.api.surfaces import SURFACES
from laser.server.controller_report import report
from laser.server.policy_choice import ChosenPolicy
from laser.server.telemetry.metrics import KINDS, SECONDS, Metrics, controller_health, saved
from tests.support.driven_controller import Driven
from tests.support.statuses import GAINED


def lines(metrics: Metrics) -> list[str]:
    return metrics.text().decode().splitlines()


def test_known_labels_begin_at_0() -> None:
    told = lines(Metrics("m", list, vllm=True))
    for surface in SURFACES:
        for status in (200, 400, 429, 500, 503):
            assert f'laser_http_responses_total{{path="{surface.path}",status="{status}"}} 0.0' in told
    for finish in FinishReason:
        for why in ("none", *ExitReason):
            assert f'laser_replies_total{{exit_reason="{why}",finish_reason="{finish}"}} 0.0' in told
        assert f'vllm:request_success_total{{finished_reason="{finish}",model_name="m"}} 0.0' in told
    for kind in KINDS:
        assert f'laser_token_rows_total{{kind="{kind}"}} 0.0' in told
    assert 'vllm:prompt_tokens_total{model_name="m"} 0.0' in told
    assert 'vllm:e2e_request_latency_seconds_count{model_name="m"} 0.0' in told
    assert "laser_replies_abandoned_total 0.0" in told
    assert [line for line in told if "_created" in line] == []


@pytest.mark.parametrize("name", ["queue", "ttft", "e2e"])
def test_a_reply_of_nearly_two_hours_has_a_bucket(name: str) -> None:
    assert max(SECONDS) == 7200
    metrics = Metrics("m", list)
    metrics.ended(
        Outcome(
            finish_reason=FinishReason.STOP, prompt_tokens=1, completion_tokens=2, thought=NO_THOUGHT,
            queue_s=7000.0, total_s=7000.0, ttft_s=7000.0,
        )
    )  # fmt: skip
    told = lines(metrics)
    assert f'laser_{name}_seconds_bucket{{le="5120.0"}} 0.0' in told
    assert f'laser_{name}_seconds_bucket{{le="7200.0"}} 1.0' in told


def test_every_429_and_every_stream_that_ends_so_counts_once() -> None:
    metrics = Metrics("m", list)
    gave_way = Outcome(
        finish_reason=FinishReason.ERROR, prompt_tokens=1, completion_tokens=0, thought=NO_THOUGHT, queue_s=1.0,
        total_s=1.0, retry_after_s=2.0,
    )  # fmt: skip
    metrics.answered("/tokenize", 429)
    metrics.ended(gave_way, streamed=True)
    metrics.ended(gave_way)  # its status, 429, comes through `answered`
    metrics.answered("/v1/completions", 200)
    assert "laser_turned_away_total 2.0" in lines(metrics)


def test_a_raced_reply_has_lost_thoughts_and_no_time_for_a_further_token() -> None:
    metrics = Metrics("m", list, vllm=True)
    raced = Outcome(
        finish_reason=FinishReason.STOP, prompt_tokens=1, completion_tokens=9, put_in=2, thought=NO_THOUGHT,
        queue_s=0.0, total_s=3.0, ttft_s=3.0, width=3, raced_rows=30, raced_tokens=26,
    )  # fmt: skip
    metrics.ended(raced)
    told = lines(metrics)
    assert 'laser_token_rows_total{kind="raced"} 30.0' in told
    assert 'vllm:generation_tokens_total{model_name="m"} 33.0' in told
    assert "laser_ttft_seconds_count 1.0" in told
    assert "laser_tpot_seconds_count 0.0" in told
    assert 'vllm:inter_token_latency_seconds_count{model_name="m"} 0.0' in told
    metrics.ended(replace(raced, width=1, raced_rows=0, raced_tokens=0))
    assert "laser_tpot_seconds_count 1.0" in lines(metrics)


def test_words_of_the_server_are_a_kind_of_their_own() -> None:
    metrics = Metrics("m", list, vllm=True)
    outcome = Outcome(
        finish_reason=FinishReason.STOP, prompt_tokens=10, completion_tokens=20, thought=NO_THOUGHT, queue_s=0.0,
        total_s=1.0, put_in=5, put_before=3,
    )  # fmt: skip
    metrics.ended(outcome)
    told = lines(metrics)
    for kind, tokens in (("prompt", 7), ("reasoning", 0), ("answer", 15), ("forced", 8), ("withdrawn", 0)):
        assert f'laser_token_rows_total{{kind="{kind}"}} {tokens}.0' in told
    assert 'vllm:prompt_tokens_total{model_name="m"} 7.0' in told
    assert 'vllm:generation_tokens_total{model_name="m"} 15.0' in told


def test_what_was_saved_is_told_with_its_bounds_and_nothing_without_an_estimate() -> None:
    told = lines(Metrics("m", lambda: saved(GAINED)))
    for line in (
        "laser_estimated_saved_replies 120.0",
        'laser_estimated_saved_tokens{against="full_thought",bound="mean"} 12345.0',
        'laser_estimated_saved_tokens{against="full_thought",bound="low"} 11111.0',
        'laser_estimated_saved_tokens{against="fixed_0.95",bound="high"} 1102.0',
        'laser_estimated_saved_decode_seconds{against="full_thought",bound="high"} 45.3',
    ):
        assert line in told
    assert saved(None) == []


def health(controller: Driven) -> dict[str, float]:
    return {
        " ".join((gauge.name.removeprefix("laser_controller_"), *(value for _, value in gauge.labels))): gauge.value
        for gauge in controller_health(report(ChosenPolicy(name="load-aware", policy=controller.controller)))
    }


def test_a_controller_s_health_is_what_decides_and_how_many_problems_it_has(tmp_path: Path) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("outer_s: 1.0\n", encoding="utf-8")
    controller = Driven(file=file)
    controller.tick(1)
    begun = health(controller)
    assert begun["problems"] == 0.0
    assert "plan_age_seconds" not in begun  # there is no plan yet
    file.write_text("outer: 1.0\n", encoding="utf-8")
    controller.run(10.0, rate=2.0, in_system=3)
    told = health(controller)
    assert told["problems"] == 1.0
    assert told["plan_age_seconds"] >= 0.0
    assert told["solve_seconds"] > 0.0
    for each in (begun, told):
        assert sum(value for name, value in each.items() if name.startswith("rung ")) == 1.0
    assert told["rung policy map"] == 1.0
