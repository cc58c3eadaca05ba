"""When the engine fails, the requests in it get a clear error, and the next ones are served."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from controller.policy import FixedPolicy
from controller.serving.loop import ServingLoop
from controller.serving.reply import Channel, Delta
from controller.serving.request import NO_THOUGHT, Outcome, ReasoningRequest
from engine.base import Engine, EngineBrokenError, Event, Finished, FinishReason, Started
from engine.wrapper import EngineWrapper
from laser.server.api.chat import ChatRequest, Completion
from laser.server.api.errors import Busy, Unavailable
from laser.server.api.shape import ReplyHeader
from laser.server.config import ServeConfig
from laser.server.delivery import EventStream
from laser.server.deployment import Deployment, deploy
from laser.server.engine_process.tickets import EngineFailure, Ticket
from laser.server.engine_thread import EngineThread
from laser.server.keys import ANYBODY, Caller
from laser.server.run import ServingError, listen, run
from laser.server.service import AT_THE_DOOR, Service
from laser.server.submission import Submission
from tests.support.live_server import (
    ENDLESS,
    ENDLESS_CELLS,
    WAIT_S,
    LiveServer,
    asking,
    chat,
    running_deployment,
    wait_until,
)


class FragileEngine(EngineWrapper):
    """A real engine whose next step can be made to fail, or all from then on."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.fail_next = threading.Event()
        self.lose_next = threading.Event()  # the next sequence that starts is lost
        self.broken = threading.Event()
        self.goes_on = threading.Event()  # clear: the step hangs
        self.goes_on.set()
        self.hangs = threading.Event()

    def step(self) -> list[Event]:
        if not self.goes_on.is_set():
            self.hangs.set()
            self.goes_on.wait(WAIT_S)
        if self.broken.is_set():
            raise EngineBrokenError("the arena is gone")
        if self.fail_next.is_set():
            self.fail_next.clear()
            raise MemoryError("the arena has burst")
        events = self.engine.step()
        lost = next((event for event in events if isinstance(event, Started)), None)
        if lost is None or not self.lose_next.is_set():
            return events
        self.lose_next.clear()
        self.engine.cancel(lost.sequence)
        return [lost, Finished(sequence=lost.sequence, reason=FinishReason.ERROR, error="it is lost")]


@pytest.fixture(scope="module")
def fragile(endless_model: Path) -> Iterator[tuple[LiveServer, FragileEngine]]:
    sound = deploy(ServeConfig(model=endless_model, cells=ENDLESS_CELLS, name="fragile"))
    engine = FragileEngine(sound.engine)
    with running_deployment(_around(sound, engine)) as live:
        yield live, engine


def _around(sound: Deployment, engine: FragileEngine) -> Deployment:
    loop = ServingLoop(
        engine=engine,
        tokenizer=sound.chat.tokenizer,
        thinking=sound.chat.thinking,
        policy=FixedPolicy(),
        stop_tokens=frozenset(),
        clock=lambda: 0.0,
    )
    return replace(sound, engine=engine, loop=loop)


def test_a_failing_step_is_a_500_and_serving_goes_on(fragile: tuple[LiveServer, FragileEngine]) -> None:
    server, engine = fragile
    engine.fail_next.set()
    response = server.post()
    assert response.status_code == 500
    error = response.json()["error"]
    assert (error["type"], error["message"]) == ("server_error", "the engine failed: MemoryError: the arena has burst")
    assert server.post().status_code == 200
    server.wait_for_load(running=0, waiting=0, cells_reserved=0)


def test_a_sequence_that_the_engine_loses_is_a_500_with_its_reason(fragile: tuple[LiveServer, FragileEngine]) -> None:
    server, engine = fragile
    engine.lose_next.set()
    response = server.post()
    assert (response.status_code, response.json()["error"]["message"]) == (500, "it is lost")
    assert server.post().status_code == 200
    server.wait_for_load(running=0, waiting=0, cells_reserved=0)


def test_a_stream_that_has_begun_ends_with_the_error(fragile: tuple[LiveServer, FragileEngine]) -> None:
    server, engine = fragile
    url, body = f"{server.url}/v1/chat/completions", chat(stream=True, max_tokens=ENDLESS)
    with httpx.stream("POST", url, json=body, trust_env=False, timeout=WAIT_S) as response:
        lines = (line for line in response.iter_lines() if line)
        first = [next(lines) for _ in range(4)]
        engine.fail_next.set()
        rest = list(lines)
    assert "reasoning" in first[-1]
    assert "the arena has burst" in json.loads(rest[-2].removeprefix("data: "))["error"]["message"]
    assert rest[-1] == "data: [DONE]"
    assert server.post().status_code == 200
    assert httpx.get(f"{server.url}/health", trust_env=False).json()["status"] == "ok"


def test_a_client_that_leaves_while_it_is_being_taken_is_not_waited_for(
    fragile: tuple[LiveServer, FragileEngine],
) -> None:
    server, engine = fragile
    engine.goes_on.clear()
    try:
        with asking(server, max_tokens=ENDLESS):
            assert engine.hangs.wait(WAIT_S)
            with asking(server):
                wait_until(lambda: server.service.arriving == 1)  # for the engine's thread, which is in a step
        gone = 'laser_http_responses_total{path="/v1/chat/completions",status="499"} 2.0'
        wait_until(lambda: gone in httpx.get(f"{server.url}/metrics", trust_env=False).text)
    finally:
        engine.goes_on.set()
    server.wait_for_load(running=0, waiting=0, cells_reserved=0)


@pytest.mark.slow
def test_a_step_that_hangs_does_not_keep_the_server_from_stopping(endless_model: Path) -> None:
    sound = deploy(ServeConfig(model=endless_model, cells=ENDLESS_CELLS))
    engine = FragileEngine(sound.engine)
    request = ReasoningRequest(prompt=sound.chat.prompt([{"role": "user", "content": "x"}]), max_tokens=ENDLESS)

    async def run() -> None:
        thread = EngineThread(_around(sound, engine).loop, stop_s=0.2)
        thread.start()
        running = await thread.submit(request)
        engine.goes_on.clear()
        while not engine.hangs.is_set():
            await asyncio.sleep(0.01)
        asked = asyncio.create_task(thread.submit(request))  # nobody hears of it any more
        await asyncio.sleep(0)
        async with asyncio.timeout(WAIT_S):
            await thread.stop()
            await thread.stop()
            for failing in (read(running), asked):
                with pytest.raises(EngineFailure, match="the server is shutting down"):
                    await failing
        engine.goes_on.set()

    asyncio.run(run())


def test_a_step_that_hangs_is_told_and_nobody_is_sent_into_it(endless_model: Path) -> None:
    sound = deploy(ServeConfig(model=endless_model, cells=ENDLESS_CELLS))
    engine = FragileEngine(sound.engine)
    request = ReasoningRequest(prompt=sound.chat.prompt([{"role": "user", "content": "x"}]), max_tokens=ENDLESS)

    async def run() -> None:
        thread = EngineThread(_around(sound, engine).loop, stall_s=1.0)
        thread.start()
        running = await thread.submit(request)
        engine.goes_on.clear()
        while thread.alive:  # until the step has taken 1 s
            await asyncio.sleep(0.01)
        with pytest.raises(EngineFailure, match=r"a step of the engine has taken more than 1 s"):
            await thread.submit(request)
        engine.goes_on.set()
        assert await running.take()
        while not thread.alive:  # until the step that hung is over
            await asyncio.sleep(0.01)
        await thread.stop()

    asyncio.run(run())


async def read(ticket: Ticket) -> None:
    """Take all that comes."""
    while True:
        await ticket.take()


def test_a_step_that_hangs_for_ever_is_given_up(endless_model: Path) -> None:
    sound = deploy(ServeConfig(model=endless_model, cells=ENDLESS_CELLS))
    engine = FragileEngine(sound.engine)
    request = ReasoningRequest(prompt=sound.chat.prompt([{"role": "user", "content": "x"}]), max_tokens=ENDLESS)

    async def run() -> None:
        thread = EngineThread(_around(sound, engine).loop, stall_s=0.1, stop_s=0.1)
        thread.start()
        running = await thread.submit(request)
        engine.goes_on.clear()
        while not engine.hangs.is_set():
            await asyncio.sleep(0.01)
        closing = asyncio.create_task(thread.end_thought(running))
        async with asyncio.timeout(WAIT_S):
            assert await thread.broken() == "a step of the engine has taken more than 0.3 s"
            with pytest.raises(EngineFailure, match=r"more than 0\.3 s"):
                await read(running)
            assert not await closing
        await thread.stop()
        engine.goes_on.set()

    asyncio.run(run())


@pytest.mark.slow
def test_no_more_than_may_wait_stand_before_a_step_that_hangs(endless_model: Path) -> None:
    sound = deploy(ServeConfig(model=endless_model, cells=ENDLESS_CELLS, max_waiting=2))
    engine = FragileEngine(sound.engine)

    async def run() -> None:
        service = Service(_around(sound, engine))
        service.start()
        asked = ChatRequest.model_validate(chat(max_tokens=4))
        endless = ChatRequest.model_validate(chat(max_tokens=ENDLESS))
        running = await service.submit(endless, Completion, prefix="chatcmpl-")
        engine.goes_on.clear()
        while not engine.hangs.is_set():
            await asyncio.sleep(0.01)
        as_many = range(sound.config.engine_options.max_batch + AT_THE_DOOR)
        before_it = [asyncio.create_task(service.submit(asked, Completion, prefix="chatcmpl-")) for _ in as_many]
        await asyncio.sleep(0)
        with pytest.raises(Busy) as busy:
            await service.submit(asked, Completion, prefix="chatcmpl-")
        wait_s = max(1.0, service._engine.queue.wait_s(sound.config.max_waiting + 1))
        assert str(busy.value) == f"64 requests have come at once and are not yet taken; try again in {wait_s:.1f} s"
        alone = Caller(name="alone")  # another key, which has its share yet
        before_it.append(asyncio.create_task(service.submit(asked, Completion, prefix="chatcmpl-", caller=alone)))
        await asyncio.sleep(0)
        assert not before_it[-1].done()
        engine.goes_on.set()
        for submission in await asyncio.gather(*before_it, return_exceptions=True):
            assert isinstance(submission, Submission | Busy)
            if isinstance(submission, Submission):
                submission.close()
        running.close()
        while service.queue.turned_away < 1:  # told as soon as the step has ended
            await asyncio.sleep(0.01)
        await service.stop()

    asyncio.run(run())


def test_a_server_whose_engine_is_broken_ends_so_that_another_can_begin(endless_model: Path) -> None:
    sound = deploy(ServeConfig(model=endless_model, cells=ENDLESS_CELLS))
    engine = FragileEngine(sound.engine)
    engine.broken.set()
    statuses: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions"

        def ask() -> None:
            with httpx.Client(trust_env=False, timeout=WAIT_S, transport=httpx.HTTPTransport()) as client:
                for _ in range(200):  # until it listens
                    with suppress(httpx.ConnectError):
                        statuses.append(client.post(url, json=chat()).status_code)
                        return
                    time.sleep(0.05)
            signal.raise_signal(signal.SIGTERM)  # it has not come up

        client = threading.Thread(target=ask)
        client.start()
        try:
            with pytest.raises(ServingError, match="the engine is broken: the arena is gone"):
                run(Service(_around(sound, engine)), listener, ready=lambda url: None)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        client.join(WAIT_S)
    assert statuses == [500]


def test_what_was_said_before_a_failure_is_handed_over_first() -> None:
    async def run() -> None:
        ticket = Ticket(lambda _: None)
        said = Delta(channel=Channel.CONTENT, text="4")
        ticket.receive(None)
        ticket.receive(said)
        ticket.receive(EngineFailure("the engine is broken"))
        assert await ticket.take() == [said]
        for _ in range(2):
            with pytest.raises(EngineFailure, match="the engine is broken"):
                await ticket.take()

    asyncio.run(run())


def test_a_stream_says_all_before_the_error_that_ends_it() -> None:
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> Message:
        await asyncio.sleep(WAIT_S)
        return {"type": "http.disconnect"}

    async def run() -> None:
        ticket = Ticket(lambda _: None)
        ticket.receive(None)
        ticket.receive(Delta(channel=Channel.CONTENT, text="forty-two"))
        ticket.receive(
            Outcome(
                finish_reason=FinishReason.ERROR, prompt_tokens=1, completion_tokens=1, thought=NO_THOUGHT, queue_s=0.0,
                total_s=0.0, error="the arena has burst",
            )
        )  # fmt: skip
        identity = ReplyHeader(id="chatcmpl-x", created=0, model="x")
        submission = Submission(
            identity=identity, caller=ANYBODY, shape=Completion(identity), ticket=ticket, ended=lambda _: None,
            closed=lambda _: None, turn_of=lambda _: None,
        )  # fmt: skip
        await EventStream(submission, ping_s=1.0, headers={})({"type": "http"}, receive, send)

    asyncio.run(run())
    text = b"".join(sent).decode()
    assert text.index("forty-two") < text.index("the arena has burst") < text.index("[DONE]")


def test_a_drain_waits_for_a_request_that_is_being_taken(endless_model: Path) -> None:
    async def run() -> None:
        service = Service(deploy(ServeConfig(model=endless_model, cells=ENDLESS_CELLS)))
        service.start()
        asked = ChatRequest.model_validate(chat(max_tokens=4))
        asking = asyncio.create_task(service.submit(asked, Completion, prefix="chatcmpl-"))
        await asyncio.sleep(0)  # it is taken, and not yet queued
        draining = asyncio.create_task(service.drain())
        submission = await asking
        assert (await asyncio.wait({draining}, timeout=0.1))[1] == {draining}
        submission.close()
        await asyncio.wait_for(draining, WAIT_S)
        with pytest.raises(Unavailable):
            await service.submit(asked, Completion, prefix="chatcmpl-")
        await service.stop()

    asyncio.run(run())


def test_an_engine_that_is_broken_for_good_is_told_of(fragile: tuple[LiveServer, FragileEngine]) -> None:
    """The last test of this module: only a new process serves after it. A supervisor sees it in /health."""
    server, engine = fragile
    engine.broken.set()
    for status in (500, 503):  # the request that it fails on, and those after it
        response = server.post()
        assert response.status_code == status
        assert "the engine is broken: the arena is gone" in response.json()["error"]["message"]
    for path in ("health", "ready"):
        response = httpx.get(f"{server.url}/{path}", trust_env=False)
        assert (response.status_code, response.json()["status"]) == (503, "failed")
