"""A server whose engine's process is stopped under streams: it is told, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.support.freezing import WHOLE, FreezeFound, freeze
from laser.server.engine_process.link import FROZEN_S
from laser.server_process import serving

STOPPED_S = FROZEN_S + 2.0


@pytest.mark.slow
def test_streams_go_on_to_their_ends_behind_a_stop_that_health_has_told() -> None:
    async def run() -> FreezeFound:
        async with serving(["serve", "--port", "0", "--no-early-exit", "--no-loop-detection"]) as server:
            return await freeze(server, ["What is 2 + 3?", "What is 7 + 8?"], STOPPED_S, tokens=800)

    found = asyncio.run(run())
    assert found.faults == []
    assert found.ends == [WHOLE, WHOLE]
    assert found.told_s is not None
    assert FROZEN_S - 1.5 < found.told_s <= found.stopped_s  # it had spoken shortly before it was stopped
    assert found.stopped_s >= STOPPED_S
