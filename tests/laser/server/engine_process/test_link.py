"""The event loop's side of the engine's process, with a test at the other end of the socket."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count, repeat

import pytest

from controller.serving.request import Outcome, ReasoningRequest
from laser.server.config import ServeConfig
from laser.server.controller_report import ControllerReport
from laser.server.engine_process import link, supervision
from laser.server.engine_process.child import Child
from laser.server.engine_process.link import EngineProcess, EngineStartError
from laser.server.engine_process.messages import (
    Accepted,
    Command,
    Deployed,
    Event,
    Handled,
    Inquire,
    Loading,
    NotAccepted,
    PolicyReport,
    Pong,
    Refusal,
    Seen,
    Submit,
)
from laser.server.engine_process.tickets import EngineFailure, EngineLost, Ticket
from laser.server.engine_process.wire import COMMANDS, Unpacker, packed
from tests.support.statuses import loop_status

LONG = tuple(range(100_000, 400_000))  # a prompt that no socket's buffers hold
SHORT_S = 5.0  # within which what does not wait is over


class Peer:
    """An engine's process that does nothing, and its end of the socket, which the test reads and writes."""

    def __init__(self) -> None:
        ours, self.line = socket.socketpair()
        ours.setblocking(False)
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.child = Child(process=process, line=ours)

    def deploy(self) -> None:
        limits = PolicyReport(
            controller=ControllerReport(policy="none", note=None, limits={}).model_dump(), gained=None
        )
        told = Deployed(
            model_id="m", vocabulary=9, room=9, engine="e", knows=None, difficulty=None, tells_length=False, cells=9,
            report=limits, certified=None,
        )  # fmt: skip
        self.line.sendall(packed([told]))

    def close(self) -> None:
        self.line.close()
        self.child.kill()
        assert self.child.process.stdin is not None
        self.child.process.stdin.close()

    def tell(self, *events: Event) -> None:
        self.line.sendall(packed(events))

    async def commands(self, unpacker: Unpacker[Command]) -> list[Command]:
        """Returns what has come, at least something."""
        found: list[Command] = []
        while not found:
            data = await asyncio.get_running_loop().sock_recv(self.line, 1 << 20)
            found += [command for commands in unpacker.feed(data) for command in commands]
        return found


@asynccontextmanager
async def connected(clock: Callable[[], float] = time.monotonic) -> AsyncIterator[tuple[EngineProcess, Peer]]:
    peer = Peer()
    peer.line.setblocking(False)
    engine = EngineProcess(ServeConfig(), peer.child, clock=clock)
    peer.deploy()
    try:
        await engine.opened()
        yield engine, peer
    finally:
        peer.line.close()
        await engine.stop()
        peer.close()


def submit(engine: EngineProcess, prompt: tuple[int, ...] = (1,)) -> asyncio.Task[Ticket]:
    return asyncio.create_task(engine.submit(ReasoningRequest(prompt=prompt, max_tokens=8)))


def test_while_there_is_no_process_a_thought_is_not_ended_and_nobody_waits_for_that() -> None:
    async def main() -> None:
        async with connected() as (engine, peer):
            asked = submit(engine)
            await peer.commands(Unpacker(COMMANDS))
            peer.line.close()
            while not engine.restarting:
                await asyncio.sleep(0)
            assert engine.trouble == "the engine's process has ended; it is being started again"
            async with asyncio.timeout(SHORT_S):
                assert not await engine.end_thought(Ticket(lambda ticket: None, number=1))
                await engine.refresh()
            asked.cancel()

    asyncio.run(main())


def test_the_step_in_which_a_process_hung_ends_with_it_and_requests_wait_for_the_next() -> None:
    async def main() -> None:
        async with connected() as (engine, peer):
            peer.tell(Pong(step_s=1000.0))
            async with asyncio.timeout(SHORT_S):
                while engine.alive:
                    await asyncio.sleep(0)
                peer.line.close()
                while not engine.restarting:
                    await asyncio.sleep(0)
                assert engine.alive
                asked = submit(engine)
                await asyncio.sleep(0.05)
                assert not asked.done()
            asked.cancel()

    asyncio.run(main())


async def another(engine: EngineProcess) -> Peer:
    """The next process, which has been sent what waits."""
    engine._after_end()
    peer = Peer()
    peer.line.setblocking(False)
    engine._child = peer.child
    peer.deploy()
    await engine.opened()
    engine._send_again()
    return peer


async def arrived(engine: EngineProcess, peer: Peer, numbers: tuple[int, ...], others: int = 0) -> int:
    """What the status tells once the requests of these numbers have come to a process that has had `others` beside."""
    looked = asyncio.create_task(engine.status())
    unpacker, crossed = Unpacker(COMMANDS), list[Command]()
    while not any(isinstance(command, Inquire) for command in crossed):
        crossed += await peer.commands(unpacker)
    (call,) = [command.call for command in crossed if isinstance(command, Inquire)]
    peer.tell(*(Accepted(number=number) for number in numbers))
    peer.tell(Seen(call=call, status=loop_status(0.0, arrived=len(numbers) + others)))
    return (await looked).arrived


def test_requests_that_are_sent_to_several_processes_have_arrived_once() -> None:
    async def main() -> None:
        async with connected() as (engine, peer), asyncio.timeout(SHORT_S):
            asked = [submit(engine), submit(engine)]
            await asyncio.sleep(0)
            assert await arrived(engine, peer, (1, 2)) == 2
            for _ in range(2):  # the first of them ends before anything has come to it
                peer.close()
                while not engine.restarting:
                    await asyncio.sleep(0)
                peer = await another(engine)
            assert await arrived(engine, peer, ()) == 2  # their grammars are new to it, say
            assert await arrived(engine, peer, (1, 2)) == 2
            for one in asked:
                (await one).cancel()
            peer.close()

    asyncio.run(main())


def test_what_a_process_refuses_or_the_door_turns_away_has_arrived_once() -> None:
    async def main() -> None:
        async with connected() as (engine, peer), asyncio.timeout(SHORT_S):
            asked = submit(engine)
            await asyncio.sleep(0)
            assert await arrived(engine, peer, (1,)) == 1
            engine.turned_away()  # at the door, and nobody looks before the end
            peer.close()
            while not engine.restarting:
                await asyncio.sleep(0)
            engine.turned_away()  # no process counts it
            peer = await another(engine)
            peer.tell(NotAccepted(number=1, why=Refusal.FAILURE, message="the engine failed", retry_after_s=0.0))
            with pytest.raises(EngineFailure, match="the engine failed"):
                await (await asked).take()
            assert await arrived(engine, peer, (), 1) == 3  # its loop has counted it, too
            peer.close()

    asyncio.run(main())


def test_a_restart_that_loads_nothing_more_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "PING_S", 0.02)
    monkeypatch.setattr(supervision, "LOAD_S", 0.3)
    times: Iterator[float] = repeat(time.monotonic())  # while the first loads: the next has three times that

    async def main() -> None:
        nonlocal times
        async with connected(lambda: next(times)) as (engine, first), asyncio.timeout(SHORT_S):
            times = iter(time.monotonic, None)
            first.close()
            while not engine.restarting:
                await asyncio.sleep(0)
            engine._after_end()
            peer = Peer()
            engine._child = peer.child
            watching, opening = asyncio.create_task(engine._watch()), asyncio.create_task(engine.opened())
            for part in range(10):
                peer.tell(Loading(stage="weights", share=part / 10))
                await asyncio.sleep(0.06)
            assert peer.child.process.poll() is None  # it gets on, if slowly
            while peer.child.process.poll() is None:
                await asyncio.sleep(0.01)
            peer.close()
            with pytest.raises(EngineStartError, match=r"has loaded nothing for more than 0\.3 s"):
                await opening
            watching.cancel()

    asyncio.run(main())


def test_a_restart_may_load_as_long_as_the_first_start_did() -> None:
    times = count(0.0, supervision.LOAD_S)

    async def main() -> None:
        async with connected(lambda: next(times)) as (engine, _):
            assert engine._silence.loading(supervision.LOAD_S + 1.0) is None
            assert engine._silence.loading(supervision.LOAD_S * 10.0) is not None

    asyncio.run(main())


def test_a_deadline_that_passes_in_a_second_outage_is_told_with_the_whole_wait_and_no_more() -> None:
    now = 100.0

    async def main() -> None:
        nonlocal now
        async with connected(lambda: now) as (engine, first), asyncio.timeout(SHORT_S):
            request = ReasoningRequest(prompt=(1,), max_tokens=8, deadline_s=0.3)
            asked = asyncio.create_task(engine.submit(request))
            await first.commands(Unpacker(COMMANDS))
            peer = first
            for end in (1, 2):
                peer.close()
                while not engine.restarting:
                    await asyncio.sleep(0)
                now += 0.2
                peer = await another(engine) if end == 1 else peer
            engine._after_end()
            engine._expire()
            (outcome,) = await (await asked).take()
            assert isinstance(outcome, Outcome)
            assert outcome.expired
            assert outcome.queue_s == outcome.total_s == pytest.approx(0.4)

    asyncio.run(main())


def test_a_request_over_whose_grammar_two_processes_end_gets_an_error_of_its_own() -> None:
    async def main() -> None:
        async with connected() as (engine, peer), asyncio.timeout(SHORT_S):
            asked, other = submit(engine), submit(engine)
            for end in (1, 2):
                unpacker, crossed = Unpacker(COMMANDS), list[Command]()
                while len(crossed) < 2:
                    crossed += await peer.commands(unpacker)
                peer.tell(Handled(number=1, over=False))
                peer.close()
                while not engine.restarting:
                    await asyncio.sleep(0)
                peer = await another(engine) if end == 1 else peer
            engine._after_end()
            with pytest.raises(EngineFailure, match="has ended twice") as failed:
                await asked
            assert not isinstance(failed.value, EngineLost)
            assert not other.done()
            other.cancel()

    asyncio.run(main())


def test_a_request_whose_client_goes_while_the_process_does_not_read_never_crosses() -> None:
    async def main() -> None:
        async with connected() as (engine, peer):
            long, gone = submit(engine, LONG), submit(engine)
            await asyncio.sleep(0.05)
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
            after = submit(engine)
            unpacker, crossed = Unpacker(COMMANDS), list[Command]()
            while len(crossed) < 2:
                crossed += await peer.commands(unpacker)
            assert all(isinstance(command, Submit) for command in crossed)
            assert [command.number for command in crossed if isinstance(command, Submit)] == [1, 3]
            assert list(engine._tickets) == [1, 3]
            assert len(engine._ledger) == 2
            long.cancel()
            after.cancel()

    asyncio.run(main())


def test_what_cannot_be_packed_is_not_kept_to_be_sent_again() -> None:
    async def main() -> None:
        async with connected() as (engine, _):
            with pytest.raises(OverflowError):
                await engine.submit(ReasoningRequest(prompt=(1,), max_tokens=2**70))
            assert not engine._tickets
            assert not len(engine._ledger)

    asyncio.run(main())
