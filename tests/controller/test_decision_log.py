"""Decisions as they are recorded: replayed to the same, bounded in size, and never in the way of deciding."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.decision_log import DecisionLog
from controller.replay import read_decisions, replay
from controller.status import DecisionSource
from tests.support.driven_controller import FULL_RATE, PROFILE, Driven


def test_recorded_decisions_replay_to_the_same(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl")
    driven = Driven(sink=log)
    driven.run(15.0, rate=0.3 * FULL_RATE, in_system=2)
    driven.run(15.0, rate=3 * FULL_RATE, in_system=70)
    driven.run(15.0, rate=0.3 * FULL_RATE, in_system=4)
    log.close()
    assert log.complaint() is None
    found = replay(PROFILE, read_decisions(log.path))
    assert found.same, found
    assert found.decisions >= 88
    assert found.solves >= 5


def test_a_decision_that_was_tampered_with_is_found(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl")
    driven = Driven(sink=log)
    driven.run(5.0, rate=1.0, in_system=2)
    log.close()
    decisions = list(read_decisions(log.path))
    decisions[3]["held"]["points"] = [7, 7, 7]
    decisions[4]["price"] *= 1.01
    found = replay(PROFILE, iter(decisions))
    assert 3 in found.differing
    assert found.price_error == pytest.approx(0.0099, abs=1e-3)


def test_log_files_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl", max_bytes=1000, keep=2)
    for number in range(100):
        log({"number": number, "text": "x" * 80})
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["decisions.jsonl", "decisions.jsonl.1", "decisions.jsonl.2"]
    assert all(file.stat().st_size <= 1000 for file in files)
    numbers = [said["number"] for said in read_decisions(log.path)]
    assert numbers == list(range(numbers[0], 100))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full here")
def test_a_full_disk_is_reported_and_deciding_goes_on() -> None:
    _goes_on(DecisionLog(Path("/dev/full")), "No space left on device")


def test_a_log_that_cannot_be_written_is_reported_and_deciding_goes_on(tmp_path: Path) -> None:
    _goes_on(DecisionLog(tmp_path / "nowhere" / "decisions.jsonl"), "No such file")


def _goes_on(log: DecisionLog, why: str) -> None:
    driven = Driven(sink=log, complaints=log.complaint)
    driven.run(5.0, rate=1.0, in_system=2)
    log.close()
    driven.tick(2)
    assert driven.status.source is DecisionSource.POLICY_MAP
    assert any(why in problem and "are lost" in problem for problem in driven.status.problems)


def test_a_decision_that_a_full_disk_has_cut_off_is_taken_back(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl")
    log({"number": 0})
    log.close()
    log = DecisionLog(log.path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 7, limits[1]))  # half a line more
    try:
        log({"number": 1})
        deadline = time.monotonic() + 10.0
        while log.complaint() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "1 decisions are lost" in str(log.complaint())
    log({"number": 2})
    log.close()
    assert [said["number"] for said in read_decisions(log.path)] == [0, 2]


def test_a_last_line_that_was_cut_off_is_left_out_and_any_other_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    file.write_text('{"a": 1}\n{"a": 2')
    assert list(read_decisions(file)) == [{"a": 1}]
    file.write_text('{"a": 1\n{"a": 2}\n')
    with pytest.raises(ValueError, match=r"decisions\.jsonl:1"):
        list(read_decisions(file))


def test_a_sink_s_decisions_are_plain_json() -> None:
    import json

    told: list[Mapping[str, Any]] = []
    driven = Driven(sink=told.append)
    driven.run(3.0, rate=1.0, in_system=2)
    assert all(json.loads(json.dumps(one, allow_nan=False)) for one in told)
