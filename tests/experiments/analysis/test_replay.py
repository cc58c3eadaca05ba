"""Decision logs: counted, drawn, compared with other policies, read back."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.controller import Controller
from controller.decision_log import LogError
from controller.decision_record import DecisionRecord
from controller.planning.joint_program import Optimizer
from controller.planning.plan import Plan
from controller.planning.plan import SolveRequest as PlannedFor
from controller.planning.planner import Planner
from controller.settings import SettingsFile
from controller.status import DecisionSource
from experiments.analysis.log import read_log
from experiments.analysis.plots.replay import draw_replay
from experiments.analysis.replay import compare, replay
from experiments.analysis.situation import Situation
from tests.support.analysis_profile import THRESHOLDS, made_profile, still
from tests.support.decision_records import bisected


def logged(one: Situation, program: Optimizer, rates: list[float]) -> list[DecisionRecord]:
    entries = []
    for n, rate in enumerate(rates):
        decision = program.solve(one.load(rate), one.plant)
        entries.append(
            bisected(
                time_s=10.0 * n,
                rate=rate,
                mix=tuple(one.mix.tolist()),
                work_ratio=(1.0, 1.0, 1.0),
                step_time=one.plant.step_time,
                threshold=tuple(decision.threshold.tolist()),
                budget=tuple(decision.budget.tolist()),
                accuracy=tuple(decision.accuracy.tolist()),
                shed=tuple(decision.shed.tolist()),
                demand=decision.demand,
                in_system=decision.in_system,
                rung=DecisionSource.JOINT_PROGRAM if n else DecisionSource.PRICE_BISECTION,
                failed=n == 0,
                solve_s=0.001 * (n + 1),
                solve=n + 1,
            )
        )
    return entries


@pytest.fixture(scope="module")
def entries(one: Situation, program: Optimizer) -> list[DecisionRecord]:
    return logged(one, program, [3.0, 12.0, 6.0, 14.0, 4.0, 12.0, 8.0])


def test_a_log_is_counted(one: Situation, entries: list[DecisionRecord]) -> None:
    found = replay(one, entries, lambda: None)
    assert (found.decisions, found.minutes, found.failures) == (7, 1.0, 1)
    assert found.rungs == {"joint program": 6, "price bisection": 1}
    assert found.solve_median_ms == pytest.approx(4.0)
    assert found.solve_p99_ms == pytest.approx(6.94)
    moved = sum(abs(min(b.threshold[2], 1.0) - min(a.threshold[2], 1.0)) for a, b in itertools.pairwise(entries))
    assert found.movement[2] == pytest.approx(moved)


def test_a_solve_that_many_decisions_follow_from_counts_once(one: Situation, entries: list[DecisionRecord]) -> None:
    shared = [replace(entry, solve=7 if n < 3 else None, solve_s=0.02) for n, entry in enumerate(entries)]
    found = replay(one, shared, lambda: None)
    assert (found.solves, found.solve_median_ms) == (1, pytest.approx(20.0))
    none = replay(one, [replace(entry, solve=None) for entry in entries], lambda: None)
    assert (none.solves, none.solve_median_ms, none.solve_p99_ms) == (0, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 7])
def test_any_log_can_be_drawn(tmp_path: Path, one: Situation, entries: list[DecisionRecord], count: int) -> None:
    """One of a single decision, and one in which nothing was solved or came."""
    empty = [replace(entry, solve=None, rate=0.0) for entry in entries]
    for number, log in enumerate((entries[:count], empty[:count])):
        draw_replay(tmp_path / f"{number}.png", one, replay(one, log, lambda: None))
    assert len(list(tmp_path.iterdir())) == 2


def test_policies_are_compared_at_the_log_s_accuracy(one: Situation, entries: list[DecisionRecord]) -> None:
    own, full, threshold, both, adaptive = compare(one, entries)
    requests = np.array([entry.rate for entry in entries])
    accuracy = np.array([one.mix @ entry.accuracy for entry in entries])
    assert own.accuracy == pytest.approx(float(requests @ accuracy / requests.sum()))
    assert own.latency_s == pytest.approx(sum(entry.in_system for entry in entries) / requests.sum(), rel=1e-4)
    assert full.accuracy == pytest.approx(float(one.mix @ one.tables.accuracy[:, 0]))
    assert full.overloaded == pytest.approx(4 / 7)
    for other in (threshold, both):
        assert other.accuracy == pytest.approx(own.accuracy, abs=1e-9)
    assert both.latency_s <= threshold.latency_s + 1e-9
    assert adaptive.accuracy == pytest.approx(own.accuracy, abs=2e-3)
    assert own.latency_s < both.latency_s  # these loads differ: no constant serves them as well


def test_a_log_is_read_back(tmp_path: Path, one: Situation, entries: list[DecisionRecord]) -> None:
    file = tmp_path / "decisions.jsonl"
    lines = [_line(entry) for entry in entries]
    file.write_text("".join(lines) + lines[0][:50], encoding="utf-8")  # the last one was cut off
    assert read_log(file, one.tables.classes) == entries


def test_full_files_and_restarts_belong_to_the_log(
    tmp_path: Path, one: Situation, entries: list[DecisionRecord]
) -> None:
    lines = [_line(entry) for entry in entries]
    (tmp_path / "decisions.jsonl.2").write_text("".join(lines[:3]), encoding="utf-8")
    (tmp_path / "decisions.jsonl.1").write_text("".join(lines[3:]), encoding="utf-8")
    (tmp_path / "decisions.jsonl").write_text("".join(lines[:2]), encoding="utf-8")  # after a restart
    found = read_log(tmp_path / "decisions.jsonl", one.tables.classes)
    assert found[:7] == entries
    assert [entry.time_s for entry in found[7:]] == [60.0, 70.0]
    assert [entry.solve for entry in found[7:]] == [8, 9]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda lines: [], "has no decisions"),
        (lambda lines: ["{}\n", *lines], r":1: time_s is missing"),
        (lambda lines: [*lines, "[1]\n"], r":8: is \[1\], must be an object"),
        (lambda lines: [lines[0].replace('"rate": 3.0', '"rate": -3.0')], "rate is -3.0, must be at least 0"),
        (lambda lines: [lines[0].replace('"mix": [', '"mix": [0.1, ')], "mix has 4 entries, must have 3"),
    ],
)
def test_damaged_logs_are_refused(
    tmp_path: Path,
    one: Situation,
    entries: list[DecisionRecord],
    damage: Callable[[list[str]], list[str]],
    complaint: str,
) -> None:
    file = tmp_path / "decisions.jsonl"
    file.write_text("".join(damage([_line(entry) for entry in entries])), encoding="utf-8")
    with pytest.raises(LogError, match=complaint):
        read_log(file, one.tables.classes)


def _line(entry: DecisionRecord) -> str:
    return json.dumps(entry.to_json()) + "\n"


def test_the_made_profile_has_what_the_tests_lean_on() -> None:
    profile = made_profile()
    assert len(profile.points()) == 5 * len(THRESHOLDS)
    assert len(made_profile(certified_to=0).points()) == 1


@pytest.mark.slow
def test_the_live_controller_s_log_can_be_looked_at(tmp_path: Path, one: Situation) -> None:
    """Its decisions, as it records them, while requests come ever faster."""
    file = tmp_path / "decisions.jsonl"
    planner, answers = Planner(one.tables, clock=still), deque[Plan | Exception]()

    class Solver:
        def ask(self, situation: PlannedFor) -> None:
            answers.append(planner(situation))

        def answer(self) -> Plan | Exception | None:
            return answers.popleft() if answers else None

    with file.open("w", encoding="utf-8") as lines:
        controller = Controller(
            one.measured,
            settings=SettingsFile(None, 3),
            solver=Solver(),
            sink=lambda decision: print(json.dumps(decision.to_json()), file=lines),
        )
        for second in range(60):
            for name in ("easy", "medium", "hard")[: 1 + second % 3] * (1 + second // 10):
                controller.arrived(name)
            controller.tick(float(second), second)
    found = replay(one, read_log(file, one.tables.classes), lambda: None)
    assert found.decisions == 60
    assert set(found.rungs) == {"price bisection", "policy map"}
    assert 5 <= found.solves <= 60
    assert found.policies[0].name == "the log"
    assert 0.5 < found.policies[0].accuracy <= found.policies[1].accuracy  # full thought's
