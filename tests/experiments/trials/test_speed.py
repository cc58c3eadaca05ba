"""A machine's speed, told from the records of what it served; here of machines whose speed is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.request_record import RequestRecord
from experiments.trials.experiment import read_experiment
from experiments.trials.running import counts, slowed
from experiments.trials.setting import Setting
from experiments.trials.speed import relative_speed
from experiments.trials.store import Store
from models.profile.plant import Plant, StepTime

PLANT = Plant(step_time=StepTime(a=1.5e-3, c=2e-4), max_batch=8)


def served(speed: float, rate: float, *, seed: int = 0, probes: int = 0) -> list[RequestRecord]:
    """Requests decoded step by step at this share of PLANT's speed; of each token's rows `probes` % are a probe's."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1.0 / rate, 80)).tolist()
    tokens = rng.integers(20, 200, 80).tolist()
    now, begun, left, records = 0.0, {}, {}, []
    step = PLANT.step_time
    waiting = list(range(80))
    while waiting or left:
        while waiting and arrivals[waiting[0]] <= now and len(left) < PLANT.max_batch:
            number = waiting.pop(0)
            begun[number], left[number] = now, tokens[number]
        if not left:
            now = arrivals[waiting[0]]
            continue
        now += step.seconds(len(left) * (1.0 + probes / 100.0)) / speed
        for number in list(left):
            left[number] -= 1
            if not left[number]:
                del left[number]
                records.append(_record(number, arrivals[number], begun[number], now, tokens[number], probes))
    return sorted(records, key=lambda one: one.number)


def _record(number: int, at_s: float, begun: float, ended: float, tokens: int, probes: int) -> RequestRecord:
    probe_rows = tokens * probes // 100
    return RequestRecord(
        number=number, question=number, benchmark="words", split=None, difficulty=None, at_s=at_s, queue_s=begun - at_s,
        first_answer_s=None, latency_s=ended - at_s, thought_tokens=tokens, completion_tokens=tokens,
        rows=tokens + probe_rows, probes=0, probe_rows=probe_rows, exit_reason=None, threshold=None, budget=None,
        right=True, error=None,
    )  # fmt: skip


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("rate", [2.0, 10.0, 40.0])
@pytest.mark.parametrize("probes", [0, 30])
def test_a_machine_s_speed_is_found_at_every_load(speed: float, rate: float, probes: int) -> None:
    assert relative_speed(served(speed, rate, probes=probes), PLANT) == pytest.approx(speed, rel=0.03)


def test_where_nothing_was_served_there_is_no_speed() -> None:
    failed = [replace(one, error="gone") for one in served(1.0, 5.0)]
    with pytest.raises(ValueError, match="80 requests have been made, and none was served"):
        relative_speed(failed, PLANT)


def test_trials_on_a_slowed_machine_are_found_and_can_be_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "live.yaml"
    file.write_text(
        """\
backend: live
seeds: [1]
duration_s: 30
workloads: [{name: steady, arrivals: {kind: poisson, rate: 4}}]
policies:
  - {name: full, policy: none}
  - {name: sure, policy: fixed, threshold: 0.95}
  - {name: surer, policy: fixed, threshold: 0.97}
baseline: sure
full_thought: full
slo_s: {easy: 1, medium: 2, hard: 3}
""",
        encoding="utf-8",
    )
    setting, store = Setting(read_experiment(file)), Store(tmp_path / "out")
    for trial, speed in zip(setting.trials, (0.8, 0.6, 0.82), strict=True):
        with store.writing(trial.slug, setting.describe(trial), {"date": "2026-11-24"}) as draft:
            for record in served(speed, 10.0):
                draft.add(record)
    (slow,) = slowed(setting, store, 0.9)
    assert slow.policy.name == "sure"
    assert not slowed(setting, store, 0.5)
    per_trial = len(setting.requests(slow))
    assert counts(setting, store) == (3 * per_trial, 3 * per_trial)
    assert counts(setting, store, [slow]) == (3 * per_trial, 2 * per_trial)
