"""A streaming client of the chat API, for `laser ask`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx

from models.errors import LaserError

CONNECT_S = 5.0  # s for a server to accept a connection


class AskError(LaserError):
    """No complete answer was received; the message says why and what to do."""


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
    """The reply is complete; `laser` is the `laser` object of its last chunk, empty with other servers."""

    finish_reason: str
    laser: dict[str, Any]


Piece: TypeAlias = ThoughtPiece | Answer | End


def ask(url: str, question: str, key: str | None = None) -> Iterator[Piece]:
    """Sends one question to the server at `url` and yields the pieces of its reply as they arrive.

    `key` None: no key is sent. Raises AskError if there is no connection, an error, or no complete reply.
    """
    base = address(url)
    body = {"messages": [{"role": "user", "content": question}], "stream": True}
    timeout = httpx.Timeout(60.0, connect=CONNECT_S)  # s; the server pings more often
    try:
        # a proxy from the environment would keep us from a server on this machine or the local network
        with (
            httpx.Client(headers=authorization(key), timeout=timeout, trust_env=False) as client,
            client.stream("POST", f"{base}/v1/chat/completions", json=body) as response,
        ):
            if response.status_code != 200:
                response.read()
                if response.status_code == 401:
                    raise AskError(refused(response, base, key))
                raise AskError(f"{base} answered {response.status_code}: {said(response)}")
            yield from _pieces(response.iter_lines(), base)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise AskError(unreachable(error, base)) from error


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


def _pieces(lines: Iterator[str], base: str) -> Iterator[Piece]:
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            chunk = json.loads(data)
        except ValueError as error:
            raise AskError(f"{base} sent an event that is not JSON: {data[:80]!r}") from error
        if "error" in chunk:
            raise AskError(f"{base} failed: {chunk['error'].get('message')}")
        for choice in chunk.get("choices", ()):
            delta = choice.get("delta", {})
            thought = delta.get("reasoning") or delta.get("reasoning_content")
            if thought:
                yield ThoughtPiece(text=thought)
            if delta.get("content"):
                yield Answer(text=delta["content"])
            if choice.get("finish_reason"):
                yield End(finish_reason=choice["finish_reason"], laser=chunk.get("laser") or {})
    raise AskError(f"the connection to {base} broke off before the reply was complete")


def said(response: httpx.Response) -> str:
    """Returns the server's error message; the response's body must have been read."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200] or response.reason_phrase
