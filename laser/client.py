"""A streaming client of the chat API, for `laser ask` and for the traffic of experiments and of the demonstration."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import httpx

from models.errors import LaserError

CONNECT_S = 5.0  # s for a server to accept a connection


class AskError(LaserError):
    """No complete answer was received; the message says why and what to do."""


class ReplyError(Exception):
    """The server refused the request, or its reply reports an error or breaks off."""

    def __init__(self, message: str, response: httpx.Response | None = None) -> None:
        """`response`: the refusal, whose body has been read; None: the reply had begun."""
        super().__init__(message)
        self.response = response


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtPiece:
    """A piece of the thought."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The reply is complete."""

    finish_reason: str | None = None  # None: the server does not say
    laser: Mapping[str, Any] = field(default_factory=dict)  # the reply's `laser` object; empty with other servers
    usage: Mapping[str, Any] = field(default_factory=dict)  # the reply's `usage`; empty unless it was asked for


Piece: TypeAlias = ThoughtPiece | Answer | End


async def ask(url: str, question: str, key: str | None = None) -> AsyncGenerator[Piece, None]:
    """Sends one question to the server at `url` and yields the pieces of its reply as they arrive, an End last.

    `key` None: no key is sent. Raises AskError if there is no connection, an error, or no complete reply.
    """
    base = address(url)
    timeout = httpx.Timeout(60.0, connect=CONNECT_S)  # s; the server pings more often
    try:
        # a proxy from the environment would keep us from a server on this machine or the local network
        async with (
            httpx.AsyncClient(base_url=base, headers=authorization(key), timeout=timeout, trust_env=False) as client,
            aclosing(stream(client, {"messages": [{"role": "user", "content": question}]})) as pieces,
        ):
            async for piece in pieces:
                yield piece
    except ReplyError as error:
        if error.response is None:
            raise AskError(f"{base} failed: {error}") from error
        if error.response.status_code == 401:
            raise AskError(refused(error.response, base, key)) from error
        raise AskError(f"{base} answered {error}") from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise AskError(unreachable(error, base)) from error


async def stream(client: httpx.AsyncClient, body: Mapping[str, Any]) -> AsyncGenerator[Piece, None]:
    """Sends a chat request and yields the pieces of its streamed reply as they arrive, an End last.

    `client` has the server's address as its base URL; `body` is the request without `stream`. Raises ReplyError, and
    httpx.HTTPError if there is no connection.
    """
    end = End()
    async with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as response:
        if response.status_code != 200:
            await response.aread()
            raise ReplyError(f"{response.status_code}: {said(response)}", response)
        async for line in response.aiter_lines():
            if not line.startswith("data:"):
                continue
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                yield end
                return
            chunk = _chunk(data)
            for choice in chunk.get("choices", ()):
                delta = choice.get("delta", {})
                thought = delta.get("reasoning") or delta.get("reasoning_content")
                if thought:
                    yield ThoughtPiece(text=thought)
                if delta.get("content"):
                    yield Answer(text=delta["content"])
                end = replace(end, finish_reason=choice.get("finish_reason") or end.finish_reason)
            end = replace(end, laser=chunk.get("laser") or end.laser, usage=chunk.get("usage") or end.usage)
    raise ReplyError("the stream broke off before its end")


def _chunk(data: str) -> dict[str, Any]:
    """Returns an event's JSON. Raises ReplyError if it is none, or an error."""
    try:
        chunk: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise ReplyError(f"an event is not JSON: {data[:80]!r}") from error
    if "error" in chunk:
        raise ReplyError(str(chunk["error"].get("message")))
    return chunk


def address(url: str) -> str:
    """Returns a server's URL without a trailing slash and without the /v1 that OpenAI's clients want."""
    return url.rstrip("/").removesuffix("/v1")


def authorization(key: str | None) -> dict[str, str]:
    """Returns the Authorization header for `key`; None: no header."""
    return {} if key is None else {"authorization": f"Bearer {key}"}


def refused(response: httpx.Response, base: str, key: str | None) -> str:
    """Says why a server refused `key` (None: none was sent) and what to do; the body must have been read."""
    if key is None:
        return f"{base} wants a key: give it with --key or in LASER_KEY"
    return f"{base} does not take this key: {said(response)}"


def unreachable(error: httpx.RequestError | httpx.InvalidURL, base: str) -> str:
    """Says why the server at `base` did not answer, and what to do."""
    match error:
        case httpx.InvalidURL():
            return f"{base!r} is not a URL: {error}"
        case httpx.UnsupportedProtocol():
            return f"{base!r} is not a URL that begins with http:// or https://"
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return f"no server answers at {base}; start one with `laser serve`"
        case _:
            return f"the connection to {base} broke off: {str(error) or type(error).__name__}"


def said(response: httpx.Response) -> str:
    """Returns the server's error message; the response's body must have been read."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200] or response.reason_phrase
