"""Encodes texts beside the event loop: short ones on a thread of their own, long ones on another, each in fair turns.

A long text is first encoded in growing beginnings. If a beginning has too many tokens, or the time of the next one
would be out of bounds, the text is refused. So no text holds the thread for long, whatever tokenizer the model has.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import BaseModel

from laser.server.api.errors import BadRequest, ContextTooLong, Unavailable
from laser.server.intake.bounds import certain_texts, prompt_texts
from laser.server.intake.turns import Turns
from laser.server.keys import Caller

SHORT = 16_384  # characters that are encoded at once: whatever the tokenizer, they take it little time
GROWTH = 4  # of a beginning over the one before
SLACK = 8  # tokens that a cut may add
ENCODE_S = 20.0  # expected for a whole text, at most

T = TypeVar("T")


class EncodingPool:
    """Two threads for what is done with texts. Neither is needed by requests that are under way."""

    def __init__(self, *, waiting: int) -> None:
        """`waiting`: the most that may wait for each thread."""
        self._lanes = tuple(
            (Turns(what, slots=1, waiting=waiting), _Thread(what)) for what in ("short texts", "long texts")
        )
        self._closed = False

    async def run(self, work: Callable[[], T], caller: Caller, size: int) -> T:
        """Returns what `work` returns, which handles texts of `size` bytes together. Raises Busy if too many wait."""
        turns, thread = self._lanes[size > SHORT]
        end = await turns.take(caller, size)
        if self._closed:
            end()
            raise Unavailable("the server is shutting down")
        done = thread.put(work)

        def over(task: asyncio.Future[T]) -> None:  # also if the caller has gone: the thread goes on
            end()
            _ = task.cancelled() or task.exception()  # nobody else may be there to see it

        done.add_done_callback(over)
        return await asyncio.shield(done)

    def close(self) -> None:
        """Ends the threads once they have done what they are at; nobody waits for them."""
        self._closed = True
        for _, thread in self._lanes:
            thread.end()


class _Thread:
    """A thread that does one thing after another, and never keeps the process from ending."""

    def __init__(self, name: str) -> None:
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def put(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Has `work` done behind what was put before; returns what will be its result."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def do() -> None:
            try:
                made = work()
            except BaseException as error:
                _post(loop, done, done.set_exception, error)
            else:
                _post(loop, done, done.set_result, made)

        self._inbox.put(do)
        return done

    def end(self) -> None:
        self._inbox.put(None)

    def _serve(self) -> None:
        while True:
            task = self._inbox.get()
            if task is None:
                return
            task()
            del task  # it holds a request, while the next one may be long in coming


def _post(loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any], tell: Callable[[Any], None], value: Any) -> None:
    def settle() -> None:
        if not done.done():
            tell(value)

    with suppress(RuntimeError):  # the event loop has closed: nobody is left to receive it
        loop.call_soon_threadsafe(settle)


def check_prompt(
    request: BaseModel,
    encode: Callable[[str], Sequence[int]],
    most: int,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Raises ContextTooLong or BadRequest, naming the longest field, if a prompt has more than `most` tokens for sure.

    Also if its tokenizer would take too long for all texts of the request, those among them that its template drops.
    """
    certain, all_texts = certain_texts(request), prompt_texts(request)
    check_length(certain, encode, most, clock=clock)
    if sum(map(len, all_texts.values())) > sum(map(len, certain.values())) + SHORT:
        check_length(all_texts, encode, sys.maxsize, clock=clock)


def check_length(
    texts: dict[str, str],
    encode: Callable[[str], Sequence[int]],
    most: int,
    *,
    encode_s: float = ENCODE_S,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Raises ContextTooLong or BadRequest, naming the longest field, if texts have more than `most` tokens together.

    Also if their tokenizer would take more than `encode_s` for them. Texts of at most SHORT characters always pass.
    """
    together = "\n".join(texts.values())
    size, before_s = SHORT, 0.0
    while size < len(together):
        began = clock()
        tokens = len(encode(together[:size])) - SLACK
        took_s = clock() - began
        longest = max(texts, key=lambda name: len(texts[name]))
        if tokens > most:
            message = f"the prompt has at least {tokens} tokens, must be at most {most}: {longest} is too long"
            raise ContextTooLong(message, param=longest)
        growth = GROWTH if before_s == 0.0 else max(GROWTH, took_s / before_s)
        if took_s * min(growth, GROWTH**2) > encode_s:
            raise BadRequest(
                f"{longest} has {len(texts[longest])} characters, for which this model's tokenizer would take more "
                f"than {encode_s:g} s",
                param=longest,
            )
        # no longer than it takes to have too many tokens, if they come on like this
        size, before_s = max(size + SHORT, min(size * GROWTH, int(1.1 * size * most / max(1, tokens)))), took_s
