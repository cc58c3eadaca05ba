"""Decisions as they are recorded: replayed to the same, bounded in size, and never in the way of deciding."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.decision_log import DecisionLog, LogError, read_decisions
from controller.decision_record import DecisionRecord
from controller.replay import replay
from controller.status import DecisionSource
from models.profile.tables import PointId
from tests.support.decision_records import LOGGED, bisected, logged
from tests.support.driven_controller import FULL_RATE, PROFILE, Driven

CLASSES = len(PROFILE.classes)


def times(path: Path) -> list[float]:
    return [record.time_s for record in read_decisions(path, CLASSES)]


def test_recorded_decisions_replay_to_the_same(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl")
    driven = Driven(sink=log)
    driven.run(15.0, rate=0.3 * FULL_RATE, in_system=2)
    driven.run(15.0, rate=3 * FULL_RATE, in_system=70)
    driven.run(15.0, rate=0.3 * FULL_RATE, in_system=4)
    log.close()
    assert log.complaint() is None
    found = replay(PROFILE, read_decisions(log.path, CLASSES))
    assert found.same, found
    assert found.decisions >= 88
    assert found.solves >= 5


def test_a_decision_that_was_tampered_with_is_found(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl")
    driven = Driven(sink=log)
    driven.run(5.0, rate=1.0, in_system=2)
    log.close()
    decisions = list(read_decisions(log.path, CLASSES))
    decisions[3] = replace(decisions[3], held=replace(decisions[3].held, points=(PointId(7),) * 3))
    price = decisions[4].price
    assert price is not None
    decisions[4] = replace(decisions[4], price=1.01 * price)
    found = replay(PROFILE, decisions)
    assert 4 in {one.number for one in found.changed}
    assert found.price_error == pytest.approx(0.0099, abs=1e-3)


def test_decisions_on_points_beyond_the_tables_are_told_as_changed() -> None:
    """A log that was served at a higher risk, replayed at a lower one."""
    told: list[DecisionRecord] = []
    Driven(sink=told.append).run(2.0, rate=0.1 * FULL_RATE, in_system=2)
    point = PointId(len(PROFILE.tables().points) + 3)
    beyond = replace(told[1].held, target=(point,) * CLASSES, points=(point,) * CLASSES)
    served = [replace(told[1], held=beyond), replace(told[2], before=beyond), told[3]]
    found = replay(PROFILE, served)
    assert [one.number for one in found.changed] == [1, 2]
    assert found.changed[1].now.target == told[2].held.target


def test_log_files_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl", max_bytes=12_000, keep=2)
    for number in range(100):
        log(bisected(time_s=float(number)))
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["decisions.jsonl", "decisions.jsonl.1", "decisions.jsonl.2"]
    assert all(file.stat().st_size <= 12_000 for file in files)
    numbers = times(log.path)
    assert numbers == list(range(int(numbers[0]), 100))
    assert 10 < len(numbers) < 50


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
    log(bisected(time_s=0.0))
    log.close()
    log = DecisionLog(log.path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 7, limits[1]))  # half a line more
    try:
        log(bisected(time_s=1.0))
        deadline = time.monotonic() + 10.0
        while log.complaint() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "1 decisions are lost" in str(log.complaint())
    log(bisected(time_s=2.0))
    log.close()
    assert times(log.path) == [0.0, 2.0]


@pytest.mark.parametrize(
    ("damage", "line", "left"),
    [
        (lambda whole: whole[:-20], 2, [0]),
        (lambda whole: whole.replace("}\n", "\n", 1), 1, [1]),
        (
            lambda whole: whole.replace("}\n", "}", 1),
            1,
            [],
        ),  # a torn line and a whole one, as older versions wrote them
        (lambda whole: whole[:300] + "\n" + whole, 1, [0, 1]),
        (lambda whole: whole.replace("\n", "\n\0\0\0\n", 1), 2, [0, 1]),
        (lambda whole: whole.replace("\n", "\n\n", 1), None, [0, 1]),
    ],
)
def test_a_line_that_was_cut_off_is_left_out_and_told_by_its_number(
    tmp_path: Path, damage: Callable[[str], str], line: int | None, left: list[int]
) -> None:
    file, told = tmp_path / "decisions.jsonl", list[str]()
    records = list(read_decisions(LOGGED, CLASSES))
    file.write_text(damage(LOGGED.read_text("utf-8")))
    if left:
        assert list(read_decisions(file, CLASSES, told.append)) == [records[place] for place in left]
    else:
        with pytest.raises(LogError, match=r"decisions\.jsonl:1: is no decision, and no line of the log is one"):
            list(read_decisions(file, CLASSES, told.append))
    assert told == ([] if line is None else [f"{file}:{line}: was cut off, and is left out"])


def test_a_line_that_is_json_but_no_decision_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    file.write_text(f'{LOGGED.read_text("utf-8")}{{"time_s": 1.0}}\n')
    with pytest.raises(LogError, match=r"decisions\.jsonl:3: rate is missing"):
        times(file)


def test_after_a_crash_in_mid_line_the_log_goes_on_on_a_line_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    file.write_text(LOGGED.read_text("utf-8")[:-20])
    log = DecisionLog(file)
    log(bisected(time_s=7.0))
    log.close()
    told: list[str] = []
    assert [one.time_s for one in read_decisions(file, CLASSES, told.append)] == [0.0, 7.0]
    assert told == [f"{file}:2: was cut off, and is left out"]


def test_a_crash_in_the_first_line_of_a_new_file_costs_that_line_alone(tmp_path: Path) -> None:
    file, whole = tmp_path / "decisions.jsonl", LOGGED.read_text("utf-8")
    file.write_text(whole[:300])
    (tmp_path / "decisions.jsonl.1").write_text(whole)
    told: list[str] = []
    assert list(read_decisions(file, CLASSES, told.append)) == list(read_decisions(LOGGED, CLASSES))
    assert told == [f"{file}:1: was cut off, and is left out"]


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    file.symlink_to(file)
    with pytest.raises(LogError, match=r"decisions\.jsonl: cannot be read: Too many levels of symbolic links"):
        times(file)


def test_a_log_behind_a_link_turns_over_behind_it(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, real = tmp_path / "link", tmp_path / "there" / "decisions.jsonl"
    link.symlink_to(real)
    log = DecisionLog(link, max_bytes=12_000, keep=2)
    for number in range(30):
        log(bisected(time_s=float(number)))
    log.close()
    assert link.is_symlink()
    assert {file.name for file in real.parent.iterdir()} >= {"decisions.jsonl", "decisions.jsonl.1"}
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("link")] == ["link"]
    assert times(link)[-1] == 29.0


def test_a_log_from_before_is_read_and_written_again_as_it_was(tmp_path: Path) -> None:
    """Key by key, in the order and the spelling of the file."""
    records = list(read_decisions(LOGGED, CLASSES))
    assert [record.rung for record in records] == [DecisionSource.PRICE_BISECTION, DecisionSource.POLICY_MAP]
    assert records[0].before is None
    assert (records[1].solve, records[1].n, records[1].held.points) == (2, 70, (20, 20, 20))
    log = DecisionLog(tmp_path / "decisions.jsonl")
    for record in records:
        log(record)
    log.close()
    assert log.path.read_bytes() == LOGGED.read_bytes()
    assert replay(PROFILE, [records[0]]).same


def test_the_first_version_s_log_is_read_too() -> None:
    """It knew no SLOs."""
    said = logged(0)
    del said["slo_steps"], said["objective"]["slo_s"]
    record = DecisionRecord.from_json(said, CLASSES)
    assert (record.slo_steps, record.objective.slo_s) == (None, ())


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda said: said.pop("held"), "held is missing"),
        (lambda said: said.update(held=3), "held is 3, must be an object"),
        (lambda said: said["held"].update(points=[0, 1]), "points has 2 entries, must have 3"),
        (lambda said: said.update(n="many"), "n is 'many', must be a whole number"),
        (lambda said: said.update(rate=None), "rate is None, must be a number"),
        (lambda said: said.update(failed=1), "failed is 1, must be true or false"),
        (lambda said: said.update(rung="guess"), "rung is 'guess', must be one of policy map, joint program, "),
        (lambda said: said.update(rung="policy map"), "situation is missing and rung policy map"),
        (lambda said: said.update(rung="safe point"), "and rung safe point, must be null at the safe point alone"),
        (lambda said: said["objective"].update(speed=1), "objective has 'speed', which is no setting of it"),
        (lambda said: said.update(mix="all"), "mix is 'all', must be a list"),
        (lambda said: said.update(step_time=[-1.0, 0.0, 0.0]), r"a is -1\.0 s, must be finite and at least 0"),
    ],
)
def test_what_is_no_decision_is_refused_by_name(damage: Callable[[dict[str, Any]], object], complaint: str) -> None:
    said = logged(0)
    damage(said)
    with pytest.raises(ValueError, match=complaint):
        DecisionRecord.from_json(said, CLASSES)


def test_a_sink_s_decisions_are_plain_json() -> None:
    import json

    told: list[DecisionRecord] = []
    driven = Driven(sink=told.append)
    driven.run(3.0, rate=1.0, in_system=2)
    assert all(json.loads(json.dumps(one.to_json(), allow_nan=False)) == one.to_json() for one in told)
