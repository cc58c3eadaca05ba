"""A client that goes away while its body is read gives its place back."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import Message

from laser.server.api.reports import TokenizeRequest
from laser.server.intake.route import BodyRoute
from laser.server.intake.turns import Release

CAME = b'{"prompt": "x"}'


class EndlessReader:
    """Reads no body to its end."""

    def __init__(self) -> None:
        self.left = False

    async def read(self, *_: Any) -> TokenizeRequest:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.left = True
            raise
        raise AssertionError


def test_a_client_that_goes_while_its_body_is_read_is_not_waited_for() -> None:
    reader, told, statuses = EndlessReader(), [{"type": "http.request", "body": CAME}], []
    app = FastAPI()
    app.state.reader = reader
    app.router.route_class = BodyRoute

    async def endpoint(asked: TokenizeRequest, request: Request) -> Response:
        raise AssertionError

    app.add_api_route("/x", endpoint, methods=["POST"])

    async def receive() -> Message:
        return told.pop() if told else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    async def run() -> None:
        scope = {
            "type": "http", "method": "POST", "path": "/x", "raw_path": b"/x", "query_string": b"", "scheme": "http",
            "headers": [(b"content-type", b"application/json")], "state": {"caller": None, "release": Release()},
            "http_version": "1.1",
            "server": ("localhost", 80), "client": ("localhost", 1), "root_path": "",
        }  # fmt: skip
        async with asyncio.timeout(30):
            await app(scope, receive, send)

    asyncio.run(run())
    assert statuses == [499]
    assert reader.left
