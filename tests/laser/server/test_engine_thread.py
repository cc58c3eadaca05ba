"""The engine on a thread of the server's process."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from controller.policy import FixedPolicy, Policy
from controller.serving.loop import ServingLoop
from controller.serving.request import Outcome, ReasoningRequest
from engine.base import Engine, Event, Request, SequenceId
from engine.wrapper import EngineWrapper
from laser.server.config import ServeConfig
from laser.server.deployment import Deployment, deploy
from laser.server.engine_process.tickets import EngineFailure
from laser.server.engine_thread import EngineThread
from tests.support.live_server import ENDLESS, ENDLESS_CELLS, WAIT_S


class FullEngine(EngineWrapper):
    """A real engine that has no memory for any request."""

    def submit(self, request: Request, *, like: SequenceId | None = None) -> SequenceId:
        raise MemoryError("the device is full")


class Panic(BaseException):
    """As pyo3 raises it for a panic of Rust's: no Exception."""


class PanickingEngine(EngineWrapper):
    """A real engine whose steps panic once it has two sequences, which cannot be ended then."""

    def step(self) -> list[Event]:
        load = self.engine.load()
        if load.running + load.waiting < 2:
            return self.engine.step()
        raise Panic("index out of bounds")

    def cancel(self, sequence: SequenceId) -> None:
        raise Panic("poisoned")


def around(sound: Deployment, engine: Engine, policy: Policy | None = None) -> ServingLoop:
    """The loop of a deployment, with another engine."""
    return ServingLoop(
        engine=engine, tokenizer=sound.chat.tokenizer, thinking=sound.chat.thinking, policy=policy or FixedPolicy(),
        stop_tokens=frozenset(), clock=time.monotonic,
    )  # fmt: skip


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


def test_a_request_that_ends_as_it_is_submitted_is_answered(endless_model: Path) -> None:
    """Its end comes before the word that it is taken."""
    sound = deploy(ServeConfig(model=endless_model, cells=ENDLESS_CELLS))
    request = ReasoningRequest(prompt=sound.chat.prompt([{"role": "user", "content": "x"}]), max_tokens=8)

    async def run() -> None:
        thread = EngineThread(around(sound, FullEngine(sound.engine)))
        thread.start()
        async with asyncio.timeout(WAIT_S):
            ticket = await thread.submit(request)
            (outcome,) = await ticket.take()
        assert isinstance(outcome, Outcome)
        assert outcome.error == "MemoryError: the device is full"
        assert ticket.complete
        await thread.stop()

    asyncio.run(run())


def test_a_library_s_panic_breaks_the_engine_and_is_told_to_all(endless_model: Path) -> None:
    sound = deploy(ServeConfig(model=endless_model, cells=ENDLESS_CELLS))
    request = ReasoningRequest(prompt=sound.chat.prompt([{"role": "user", "content": "x"}]), max_tokens=ENDLESS)

    why = "the engine's thread has failed: Panic: index out of bounds"

    async def run() -> None:
        thread = EngineThread(around(sound, PanickingEngine(sound.engine)))
        thread.start()
        running = [await thread.submit(request) for _ in range(2)]
        async with asyncio.timeout(WAIT_S):
            assert await thread.broken() == why
            while not all(one.complete for one in running):
                await asyncio.sleep(0.01)
            outcome = (await running[0].take())[-1]
            assert isinstance(outcome, Outcome)
            assert outcome.error == why
            with pytest.raises(EngineFailure, match=why):  # the loop has not come to the second
                await running[1].take()
            with pytest.raises(EngineFailure, match="the engine's thread has failed: Panic"):
                await thread.submit(request)
        await thread.stop()

    asyncio.run(run())
