"""Large bodies are read in a process that starts when it is needed, is replaced, and ends with the server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from laser.server.api.chat import ChatRequest
from laser.server.api.errors import BadRequest, Busy, Unavailable
from laser.server.intake.bounds import TextBounds
from laser.server.intake.reader import BodyReader
from laser.server.intake.reading import LARGE
from laser.server.intake.turns import Release, Turns
from laser.server.keys import ANYBODY, Caller

WIDE = TextBounds(tokens=1 << 20, token_bytes=10)


def body(count: int = 3000, **more: object) -> bytes:
    """Messages that are too many to be read at once."""
    messages = [{"role": "user", "content": str(number)} for number in range(count)]
    return json.dumps({"messages": messages, **more}).encode()


@asynccontextmanager
async def reader(read_s: float = 60.0) -> AsyncIterator[BodyReader]:
    made = BodyReader(WIDE, read_s=read_s)
    try:
        yield made
    finally:
        await made.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(120):
            await test()

    asyncio.run(bounded())


def gone(pid: int | None) -> bool:
    return pid is None or not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_small_body_needs_no_process() -> None:
    async def test() -> None:
        async with reader() as made:
            assert (await made.read(body(3), ChatRequest, ANYBODY)).messages[2].content == "2"
            assert made.pid is None

    run(test)


@pytest.mark.slow
def test_a_large_body_is_read_in_a_process_that_stays_and_ends_with_the_reader() -> None:
    async def test() -> None:
        async with reader() as made:
            pids = set()
            for count in (3000, 5000):
                asked = await made.read(body(count), ChatRequest, ANYBODY)
                assert [each.content for each in asked.messages] == [str(number) for number in range(count)]
                pids.add(made.pid)
            (pid,) = pids
            text = "x" * LARGE
            long = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
            assert (await made.read(long, ChatRequest, ANYBODY)).messages[0].content == text
        assert gone(pid)

    run(test)


@pytest.mark.slow
def test_the_next_large_body_is_read_when_the_one_before_is_needed_no_more() -> None:
    async def test() -> None:
        async with reader() as made:
            kept, failed = Release(), Release()
            await made.read(body(), ChatRequest, ANYBODY, kept)
            later = asyncio.create_task(made.read(body(max_tokens=0), ChatRequest, ANYBODY, failed))
            assert (await made.read(body(3), ChatRequest, ANYBODY)).messages  # a small one does not wait
            assert not later.done()
            kept()
            kept()
            with pytest.raises(BadRequest):
                await later
            gone = Release()
            gone()  # the client goes while its body is read
            for _ in range(2):
                assert (await made.read(body(), ChatRequest, ANYBODY, gone)).messages

    run(test)


@pytest.mark.slow
def test_what_is_wrong_in_a_large_body_is_told_as_in_a_small_one() -> None:
    async def test() -> None:
        async with reader() as made:
            for count in (3, 3000):
                with pytest.raises(BadRequest, match="max_tokens is 0, must be at least 1") as refusal:
                    await made.read(body(count, max_tokens=0), ChatRequest, ANYBODY)
                assert refusal.value.param == "max_tokens"

    run(test)


@pytest.mark.slow
def test_a_process_that_ends_is_replaced() -> None:
    async def test() -> None:
        async with reader() as made:
            await made.read(body(), ChatRequest, ANYBODY)
            first = made.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            assert len((await made.read(body(), ChatRequest, ANYBODY)).messages) == 3000
            assert made.pid != first

    run(test)


@pytest.mark.slow
def test_a_process_that_ends_at_its_work_is_replaced_once() -> None:
    async def test() -> None:
        async with reader() as made:
            await made.read(body(), ChatRequest, ANYBODY)
            first = made.pid
            assert first is not None
            os.kill(first, signal.SIGSTOP)  # so that it is at its work when it is killed
            reading = asyncio.create_task(made.read(body(), ChatRequest, ANYBODY))
            await asyncio.sleep(0.2)
            os.kill(first, signal.SIGKILL)
            assert len((await reading).messages) == 3000

    run(test)


@pytest.mark.slow
def test_a_body_that_takes_too_long_ends_the_process_and_says_when_to_come_back() -> None:
    async def test() -> None:
        async with reader(read_s=5.0) as made:
            await made.read(body(), ChatRequest, ANYBODY)
            first = made.pid
            assert first is not None
            os.kill(first, signal.SIGSTOP)
            with pytest.raises(Busy, match="could not be read within 5 s"):
                await made.read(body(), ChatRequest, ANYBODY)
            assert gone(first)
            assert len((await made.read(body(), ChatRequest, ANYBODY)).messages) == 3000

    run(test)


@pytest.mark.slow
def test_closing_is_bounded_though_the_process_hangs() -> None:
    async def test() -> None:
        async with reader() as made:
            await made.read(body(), ChatRequest, ANYBODY)
            pid = made.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            async with asyncio.timeout(5.0):
                await made.close()
            assert gone(pid)

    run(test)


def test_a_body_that_comes_as_the_server_ends_is_told_so() -> None:
    async def test() -> None:
        async with reader() as made:
            await made.close()
            with pytest.raises(Unavailable, match="shutting down"):
                await made.read(body(), ChatRequest, ANYBODY)

    run(test)


@pytest.mark.slow
def test_a_body_under_way_as_the_server_ends_is_told_so() -> None:
    async def test() -> None:
        async with reader() as made:
            await made.read(body(), ChatRequest, ANYBODY)
            assert made.pid is not None
            os.kill(made.pid, signal.SIGSTOP)
            reading = asyncio.create_task(made.read(body(), ChatRequest, ANYBODY))
            await asyncio.sleep(0.2)
            await made.close()
            with pytest.raises(Unavailable, match="shutting down"):
                await reading

    run(test)


@pytest.mark.slow
def test_a_client_that_goes_leaves_the_process_at_its_work_and_the_next_one_gets_its_turn() -> None:
    async def test() -> None:
        async with reader() as made:
            await made.read(body(), ChatRequest, ANYBODY)
            first = made.pid
            reading = asyncio.create_task(made.read(body(9000), ChatRequest, ANYBODY))
            await asyncio.sleep(0.01)
            reading.cancel()
            assert len((await made.read(body(), ChatRequest, ANYBODY)).messages) == 3000
            assert made.pid == first

    run(test)


@pytest.mark.slow
def test_the_process_imports_nothing_from_where_the_server_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])

    async def test() -> None:
        async with reader() as made:
            assert len((await made.read(body(), ChatRequest, ANYBODY)).messages) == 3000

    run(test)


# --- turns


def test_turns_go_to_keys_in_turn() -> None:
    async def test() -> None:
        turns, order = Turns("tests", slots=1, waiting=16), []

        async def take(name: str) -> None:
            async with turns.turn(Caller(name=name), 1.0):
                order.append(name)

        end = await turns.take(ANYBODY, 1.0)
        greedy = [asyncio.create_task(take("greedy")) for _ in range(6)]
        await asyncio.sleep(0)
        modest = asyncio.create_task(take("modest"))
        await asyncio.sleep(0)
        end()
        await asyncio.gather(*greedy, modest)
        assert "modest" in order[:2]

    run(test)


def test_a_full_line_turns_away_those_of_the_longest_share() -> None:
    async def test() -> None:
        turns = Turns("tests", slots=1, waiting=3)
        end = await turns.take(ANYBODY, 1.0)
        greedy = [asyncio.create_task(turns.take(Caller(name="greedy"), 1.0)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="3 tests wait already; try again in") as refusal:
            await turns.take(Caller(name="greedy"), 1.0)
        assert "retry-after" in refusal.value.headers
        modest = asyncio.create_task(turns.take(Caller(name="modest"), 1.0))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await greedy[-1]
        end()
        for task in (greedy[0], modest, greedy[1]):
            (await task)()
        assert turns.waiting == 0

    run(test)


def test_who_goes_while_waiting_or_just_then_leaves_the_turn_to_the_next() -> None:
    async def test() -> None:
        turns = Turns("tests", slots=1, waiting=8)
        end = await turns.take(ANYBODY, 1.0)
        waiting = [asyncio.create_task(turns.take(ANYBODY, 1.0)) for _ in range(4)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # while it waits
        end()
        waiting[1].cancel()  # just as its turn has come, or is about to
        await asyncio.sleep(0)
        for task in waiting[2:]:
            (await task)()
        (await turns.take(ANYBODY, 1.0))()
        assert turns.waiting == 0

    run(test)
