"""Any schedule of calls, drawn by hypothesis, leaves every token and every answer what generate() says one by one."""

from __future__ import annotations

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.support.engine_requests import search
from tests.support.engines import EngineUnderTest
from tests.support.schedules import Operation, Schedule, schedules

pytestmark = pytest.mark.slow


@search(30)
@given(operations=schedules(st.integers(1, 40)))
def test_any_schedule_decodes_what_generate_says_one_by_one(
    tested: EngineUnderTest, operations: list[Operation]
) -> None:
    """Joins, queueing, chunked prefill, compaction, probes, adoption, forcing and cancellation change no token."""
    schedule = Schedule(tested.open(160, 4, 8))
    schedule.play(operations)
    schedule.ledger.verify(tested.oracle)
    for name in ("waited", "adopted", "lapsed"):
        event(f"{name}: {min(getattr(schedule, name), 1)}")
