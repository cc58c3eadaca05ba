"""Follows a server by its event stream, and polls its status while the stream is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import httpx
from pydantic import ValidationError

from laser.client import CONNECT_S, address, authorization, refused, said, unreachable
from laser.server.dashboard.schema import Status
from models.errors import LaserError

EVERY_S = 1.0  # s between two polls of the status while the event stream is down
SILENCE_S = 10.0  # s without an event after which the stream counts as down; events come once a second
TRIES_S = (1.0, 2.0, 5.0, 10.0)  # s before each further attempt to reopen the event stream; the last one repeats


class FeedError(LaserError):
    """The server cannot be followed; the message says why and what to do."""


class Connection(StrEnum):
    """How a status was obtained."""

    LIVE = "live"  # from the event stream
    POLLING = "polling"  # by a poll, since the event stream is down
    ONCE = "seen once"  # by a single request
    LOST = "no connection"  # the server cannot be reached: the last status seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One observation of a server."""

    status: Status  # with the whole history of the window
    connection: Connection
    why: str | None = None  # the connection is not live; None: it is live, or nothing went wrong


class Feed:
    """Follows one server."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        every_s: float = EVERY_S,
        silence_s: float = SILENCE_S,
        tries_s: Sequence[float] = TRIES_S,
    ) -> None:
        self.base = address(url)
        self._key = key
        self._every_s = every_s
        self._silence_s = silence_s
        self._tries_s = tries_s

    async def status(self) -> Status:
        """Returns the server's status. Raises FeedError if it cannot be fetched or read."""
        async with self._client() as client:
            return await self._status(client)

    async def looks(self) -> AsyncGenerator[Look, None]:
        """Yields looks at the server, without end. Raises FeedError only if the first status cannot be fetched."""
        async with self._client() as client:
            seen = await self._status(client)
            yield Look(status=seen, connection=Connection.POLLING, why="events have not come yet")
            failures = 0
            while True:
                try:
                    first = True
                    async for news in self._events(client):
                        seen = news if first else joined(seen, news)
                        first, failures = False, 0
                        yield Look(status=seen, connection=Connection.LIVE)
                    why = "the server has ended its events"
                except FeedError as error:
                    why = str(error)
                until = time.monotonic() + self._tries_s[min(failures, len(self._tries_s) - 1)]
                failures += 1
                while (left_s := until - time.monotonic()) > 0.0:
                    await asyncio.sleep(min(self._every_s, left_s))
                    try:
                        seen = await self._status(client)
                        yield Look(status=seen, connection=Connection.POLLING, why=why)
                    except FeedError as error:
                        yield Look(status=seen, connection=Connection.LOST, why=str(error))

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        timeout = httpx.Timeout(self._silence_s, connect=CONNECT_S)
        # a proxy from the environment would keep us from a server on this machine or the local network
        async with httpx.AsyncClient(headers=authorization(self._key), timeout=timeout, trust_env=False) as client:
            yield client

    async def _status(self, client: httpx.AsyncClient) -> Status:
        try:
            response = await client.get(f"{self.base}/laser/status")
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise FeedError(unreachable(error, self.base)) from error
        self._check(response)
        return self._read(response.text)

    async def _events(self, client: httpx.AsyncClient) -> AsyncGenerator[Status, None]:
        try:
            async with client.stream("GET", f"{self.base}/laser/events") as response:
                if response.status_code != 200:
                    await response.aread()
                self._check(response)
                async for line in response.aiter_lines():
                    if line.startswith("data:"):
                        yield self._read(line.removeprefix("data:"))
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise FeedError(unreachable(error, self.base)) from error

    def _check(self, response: httpx.Response) -> None:
        code = response.status_code
        if code == 401:
            raise FeedError(refused(response, self.base, self._key))
        if code >= 500:
            raise FeedError(f"{self.base} answered {code}: {said(response)}")
        if code != 200:
            raise FeedError(f"{self.base} is no LASER server: {response.request.url.path} answered {code}")

    def _read(self, text: str) -> Status:
        try:
            return Status.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise FeedError(
                f"{self.base} is no LASER server of this version: its status cannot be read"
                f"{f' at {where}' if where else ''}: {first['msg']}"
            ) from error


def joined(before: Status, news: Status) -> Status:
    """Returns `news` with those entries of `before` that still lie within the window."""
    oldest_s = news.at_s - news.window_s
    return news.model_copy(
        update={
            "history": [each for each in (*before.history, *news.history) if each.at_s >= oldest_s],
            "ended": [each for each in (*before.ended, *news.ended) if each.at_s >= oldest_s],
        }
    )
