"""The engine on a thread of the server's process."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from controller.serving.request import Outcome, ReasoningRequest
from laser.server.config import ServeConfig
from laser.server.deployment import deploy
from laser.server.engine_process.tickets import EngineFailure
from laser.server.engine_thread import EngineThread
from tests.support.live_server import ENDLESS, ENDLESS_CELLS, WAIT_S


@pytest.mark.parametrize("dead", [False, True], ids=["just now", "before its last word is read"])
def test_a_thread_that_fails_breaks_the_engine(endless_model: Path, dead: bool) -> None:
    sound = deploy(ServeConfig(model=endless_model, cells=ENDLESS_CELLS))
    request = ReasoningRequest(prompt=sound.chat.prompt([{"role": "user", "content": "x"}]), max_tokens=ENDLESS)

    async def run() -> None:
        thread = EngineThread(sound.loop)
        thread.start()
        running = await thread.submit(request)
        thread._send("what nobody has thought of")  # type: ignore[arg-type]
        behind = asyncio.create_task(thread.submit(request))
        while dead and thread.alive:
            time.sleep(0.01)  # the event loop stands still
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(EngineFailure, match="the engine's thread has failed"):
                await behind
            assert "TypeError: 'what nobody has thought of' is no command" in await thread.broken()
            while not running.complete:
                await asyncio.sleep(0.01)
            outcome = (await running.take())[-1]
            assert isinstance(outcome, Outcome)
            assert "the engine's thread has failed" in str(outcome.error)
        assert not thread.alive
        await thread.stop()

    asyncio.run(run())
