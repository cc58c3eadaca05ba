"""A server that ends tells all requests the same, however far they are: it is unavailable, and another may serve."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.types import Message

from laser.server.api.chat import ChatRequest, Completion
from laser.server.api.errors import ApiError, ErrorCode, ServerFailure, Unavailable
from laser.server.config import ServeConfig
from laser.server.delivery import EventStream, whole
from laser.server.deployment import deploy
from laser.server.engine_process.tickets import EngineFailure, EngineLost
from laser.server.service import Service
from laser.server.submission import Submission, of_failure
from tests.support.live_server import ENDLESS, ENDLESS_CELLS, WAIT_S, chat


async def stays() -> Message:
    await asyncio.sleep(WAIT_S)
    return {"type": "http.disconnect"}


async def streamed(submission: Submission) -> str:
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    await EventStream(submission, ping_s=1.0)({"type": "http"}, stays, send)
    return b"".join(sent).decode()


@pytest.mark.parametrize("begun", [True, False], ids=["running", "queued"])
def test_what_has_not_ended_when_the_server_ends_is_unavailable(endless_model: Path, begun: bool) -> None:
    config = ServeConfig(model=endless_model, cells=ENDLESS_CELLS, max_batch=1, early_exit=False, loop_detection=False)
    sound = deploy(config)

    async def run() -> None:
        service = Service(sound)
        service.start()

        def asked(**options: object) -> ChatRequest:
            return ChatRequest.model_validate(chat(max_tokens=ENDLESS, **options))

        others = [] if begun else [await service.submit(asked(), Completion, prefix="chatcmpl-")]
        one = await service.submit(asked(), Completion, prefix="chatcmpl-")
        answer = asyncio.create_task(whole(one, stays))
        streams = await service.submit(asked(stream=True), Completion, prefix="chatcmpl-")
        events = asyncio.create_task(streamed(streams))
        await asyncio.sleep(0.2)
        await service.stop()
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(Unavailable, match="the server is shutting down") as told:
                await answer
            assert (told.value.status, told.value.code) == (503, ErrorCode.UNAVAILABLE)
            assert '"code": "unavailable"' in (await events).replace('":"', '": "')
        for other in others:
            other.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (EngineFailure("the server is shutting down"), Unavailable),
        (EngineFailure("the engine is broken: the arena is gone"), ServerFailure),
        (EngineLost("the engine's process has ended; the request may be sent again"), Unavailable),
    ],
)
def test_only_the_end_of_the_server_and_a_lost_process_make_a_failure_unavailable(
    failure: EngineFailure, kind: type[ApiError]
) -> None:
    assert type(of_failure(failure)) is kind
