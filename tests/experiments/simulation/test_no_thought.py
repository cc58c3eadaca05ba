"""Prompts that are answered at once, in simulation: as torch serves them, and as the replay of records says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.trials import probe_spec
from experiments.calibration.grid import grid
from experiments.calibration.no_thought import DirectAnswers, with_cut_off
from experiments.calibration.traces import read_records
from tests.support.recorded_service import (
    Recorded,
    assert_alike,
    recorded_in,
    served,
    simulated,
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return recorded_in(tmp_path_factory.mktemp("records"))


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [None, 0.97])
def test_prompts_that_are_answered_at_once_cost_what_torch_and_the_replay_say(
    recorded: Recorded, tmp_path: Path, threshold: float | None
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(recorded.path.read_bytes())
    more = recorded.with_closings(path, [0])
    ease = [0.95 if number % 2 else 0.5 for number in range(len(more.recording.questions))]
    asked_ones = tuple(replace(one, ease=score) for one, score in zip(more.recording.questions, ease, strict=True))
    more = replace(more, recording=replace(more.recording, questions=asked_ones))
    policy = FixedPolicy(Limits(threshold=threshold, skip=0.9))
    arrivals, count = 100.0 * np.arange(len(ease)), range(len(ease))
    ours = simulated(more, arrivals, count, policy)
    assert_alike(ours, served(more, arrivals, count, policy))
    log, said = read_records(path), more.recording
    traces = [log.traces[question.number] for question in said.questions]
    spec = probe_spec(said.thinking, said.stop_tokens, said.score)
    plain = grid(traces, log.closings, (0.97,), (), spec)
    direct = DirectAnswers.of(traces, log.closings, len(said.thinking.landing))
    told = with_cut_off(plain, direct, np.array(ease) >= 0.9)
    row = 0 if threshold is None else 1
    assert [record.rows for record in ours] == told.tokens[:, row, 0].tolist()
    assert [record.right for record in ours] == told.right[:, row, 0].tolist()
    assert [record.exit_reason == "skipped" for record in ours] == [score >= 0.9 for score in ease]
