"""Of several replies one fails: what the others have said so far is handed over, and the request fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from starlette.types import Message

from controller.serving.reply import Channel, Delta
from controller.serving.request import NO_THOUGHT, Outcome
from engine.base import FinishReason
from laser.server.api.chat import Completion
from laser.server.api.errors import ServerFailure
from laser.server.api.shape import ReplyHeader
from laser.server.delivery import EventStream, whole
from laser.server.engine_process.tickets import Ticket
from laser.server.keys import ANYBODY
from laser.server.submission import Submission
from tests.support.live_server import WAIT_S

BURST = Outcome(
    finish_reason=FinishReason.ERROR, prompt_tokens=0, completion_tokens=1, thought=NO_THOUGHT, queue_s=0.0,
    total_s=0.0, error="the arena has burst", choice=1, going_on=1,
)  # fmt: skip


async def receive() -> Message:
    await asyncio.sleep(WAIT_S)
    return {"type": "http.disconnect"}


def submission(cancelled: list[Ticket]) -> Submission:
    """A request for two replies: the first has begun, the second has failed."""
    ticket = Ticket(cancelled.append)
    ticket.receive(None)
    ticket.receive(Delta(channel=Channel.CONTENT, text="forty", choice=1))
    ticket.receive(Delta(channel=Channel.CONTENT, text="two", choice=0))
    ticket.receive(BURST)
    identity = ReplyHeader(id="chatcmpl-x", created=0, model="x", index=0)
    return Submission(
        identity=identity, caller=ANYBODY, shape=Completion(identity),
        others=(Completion(replace(identity, index=1)),), sent=2, ticket=ticket, ended=lambda _: None,
        closed=lambda _: None, turn_of=lambda _: None,
    )  # fmt: skip


def test_a_stream_of_several_replies_ends_with_the_first_error() -> None:
    sent: list[bytes] = []
    cancelled: list[Ticket] = []

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    async def run() -> None:
        await EventStream(submission(cancelled), ping_s=1.0, headers={})({"type": "http"}, receive, send)

    asyncio.run(run())
    text = b"".join(sent).decode()
    assert max(text.index("two"), text.index("forty")) < text.index("the arena has burst") < text.index("[DONE]")
    assert len(cancelled) == 1  # the other reply does not go on for nobody


def test_whole_replies_fail_together() -> None:
    cancelled: list[Ticket] = []

    async def run() -> None:
        with pytest.raises(ServerFailure, match="the arena has burst"):
            await whole(submission(cancelled), receive)

    asyncio.run(run())
    assert len(cancelled) == 1
