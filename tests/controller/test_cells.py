"""The load-aware controller with KV cells planned: what it sees of the engine, and what it decides and tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.cells import CellGauge
from controller.decision_record import DecisionRecord
from controller.planning.room import Memory
from controller.policy import MemoryObserver
from controller.replay import replay
from controller.status import DecisionSource
from models.profile.tables import OperatingPoint
from tests.support.analysis_profile import CLASSES
from tests.support.driven_controller import FULL_RATE, PROFILE, QUALITY, Driven


def driven(tmp_path: Path, *, memory: bool, records: list[DecisionRecord] | None = None) -> Driven:
    file = tmp_path / "controller.yaml"
    file.write_text(f"memory: {str(memory).lower()}\n", encoding="utf-8")
    return Driven(file=file, sink=None if records is None else records.append)


def test_cells_are_planned_only_where_the_settings_say_so(tmp_path: Path) -> None:
    plain, planned = driven(tmp_path, memory=False), None
    assert isinstance(plain.controller, MemoryObserver)
    assert not plain.controller.plans_memory
    plain.controller.held(900, 1000, 3, growing=True)
    plain.run(20.0, rate=1.2 * FULL_RATE, in_system=20)
    planned = driven(tmp_path, memory=True)
    assert planned.controller.plans_memory
    planned.controller.held(900, 1000, 3, growing=True)
    planned.run(20.0, rate=1.2 * FULL_RATE, in_system=20)
    for one, cells in ((plain, False), (planned, True)):
        assert one.status.decision is not None
        assert (one.status.decision.batch is not None) == cells
        assert (one.status.decision.prices.cell > 0.0) == cells


def test_where_cells_are_short_thoughts_are_shorter_and_decisions_come_out_the_same_again(tmp_path: Path) -> None:
    records: list[DecisionRecord] = []
    tokens = []
    for memory in (False, True):
        one = driven(tmp_path, memory=memory, records=records if memory else None)
        one.controller.held(900, 1600, 4, growing=True)
        one.run(30.0, rate=0.7 * FULL_RATE, in_system=20)
        assert one.status.source is DecisionSource.POLICY_MAP
        points = [OperatingPoint(threshold=limit.threshold, budget=limit.budget) for limit in one.status.limits]
        tokens.append(sum(float(QUALITY.tokens[d, QUALITY.points.index(point)]) for d, point in enumerate(points)))
    assert tokens[1] < tokens[0]
    assert any(record.cells is not None and record.cells.price > 0.0 for record in records)
    assert any(record.situation is not None and record.situation.max_batch < 16 for record in records)
    again = [DecisionRecord.from_json(record.to_json(), len(CLASSES)) for record in records]
    assert again == records
    assert replay(PROFILE, again).same


def test_an_engine_that_reserves_leaves_room_for_whole_requests() -> None:
    gauge = CellGauge()
    assert gauge.memory is None
    gauge.seen(0, 4000, 0, growing=False)
    assert gauge.memory is None  # no request has been seen
    gauge.seen(1200, 4000, 2, growing=False)
    assert gauge.memory == Memory(cells=4000, extent=600.0)
    gauge.seen(2100, 4000, 3, growing=False)
    assert gauge.memory is not None
    assert gauge.memory.extent == pytest.approx(602.0)
    gauge.seen(10, 4000, 1, growing=True)
    assert gauge.memory == Memory(cells=4000)
