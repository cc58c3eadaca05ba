"""Encoding has threads of its own, and no text holds them for long, whatever the tokenizer."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from laser.server.api.chat import ChatRequest
from laser.server.api.completions import TextRequest
from laser.server.api.errors import BadRequest, Busy, ContextTooLong, Unavailable
from laser.server.api.reports import TokenizeRequest
from laser.server.api.responses import ResponsesRequest
from laser.server.intake.encoding import SHORT, EncodingPool, check_length, check_prompt
from laser.server.keys import ANYBODY, Caller


def test_long_texts_keep_short_ones_waiting_for_nothing() -> None:
    async def test() -> None:
        pool, free = EncodingPool(waiting=8), threading.Event()
        long = [asyncio.create_task(pool.run(free.wait, ANYBODY, SHORT + 1)) for _ in range(8)]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            assert await pool.run(lambda: 7, ANYBODY, 10) == 7
        free.set()
        assert await asyncio.gather(*long) == [True] * 8
        pool.close()

    asyncio.run(test())


def test_a_full_line_of_long_texts_says_when_to_come_back() -> None:
    async def test() -> None:
        pool, free = EncodingPool(waiting=4), threading.Event()
        long = [asyncio.create_task(pool.run(free.wait, ANYBODY, SHORT + 1)) for _ in range(5)]
        await asyncio.sleep(0.01)
        with pytest.raises(Busy, match="4 long texts wait already"):
            await pool.run(free.wait, ANYBODY, SHORT + 1)
        mine = asyncio.create_task(pool.run(lambda: 7, Caller(name="other"), SHORT + 1))  # another key's share
        await asyncio.sleep(0.01)
        assert sum(task.done() for task in long) == 1
        free.set()
        assert await mine == 7
        await asyncio.gather(*long, return_exceptions=True)
        pool.close()

    asyncio.run(test())


def test_a_text_whose_client_has_gone_holds_its_turn_until_it_is_done() -> None:
    async def test() -> None:
        pool, free, ran = EncodingPool(waiting=4), threading.Event(), []
        first = asyncio.create_task(pool.run(free.wait, ANYBODY, SHORT + 1))
        await asyncio.sleep(0.01)
        first.cancel()
        second = asyncio.create_task(pool.run(lambda: ran.append(1), ANYBODY, SHORT + 1))
        await asyncio.sleep(0.05)
        assert not ran
        free.set()
        await second
        assert ran == [1]
        pool.close()

    asyncio.run(test())


def test_errors_come_back_and_a_closed_pool_takes_nothing() -> None:
    async def test() -> None:
        pool = EncodingPool(waiting=4)
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0, ANYBODY, 1)
        pool.close()
        with pytest.raises(Unavailable):
            await pool.run(lambda: 1, ANYBODY, 1)

    asyncio.run(test())


def test_a_thread_that_waits_holds_no_request_alive() -> None:
    class Request:
        pass

    async def test() -> None:
        pool = EncodingPool(waiting=4)
        request = Request()
        alive = weakref.ref(request)
        await pool.run(partial(isinstance, request, Request), ANYBODY, 1)
        del request
        async with asyncio.timeout(30):
            while alive() is not None:
                await asyncio.sleep(0.01)
        pool.close()

    asyncio.run(test())


def test_whoever_comes_to_its_turn_as_the_pool_closes_is_refused() -> None:
    async def test() -> None:
        pool, free = EncodingPool(waiting=4), threading.Event()
        first = asyncio.create_task(pool.run(free.wait, ANYBODY, 1))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(pool.run(lambda: 7, ANYBODY, 1))
        await asyncio.sleep(0.01)
        pool.close()
        free.set()
        async with asyncio.timeout(30):
            assert await first
            with pytest.raises(Unavailable):
                await second

    asyncio.run(test())


# --- beginnings


class Slow:
    """A tokenizer of one token for a character, which takes `seconds` of the length; and a clock of its time."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.now = 0.0
        self._seconds = seconds

    def encode(self, text: str) -> list[int]:
        self.now += self._seconds(len(text))
        return [0] * (len(text) // 100)


def checked(slow: Slow, length: int, most: int = 10**9) -> None:
    check_length({"messages": "x" * length, "instructions": "y"}, slow.encode, most, clock=lambda: slow.now)


def test_a_tokenizer_that_takes_the_square_of_the_length_is_stopped_early() -> None:
    slow = Slow(lambda length: (length / 20_000) ** 2 * 0.7)  # as the bundled one's once did for blanks
    with pytest.raises(BadRequest, match=r"messages has 4000000 characters, for which .* more than 20 s") as refusal:
        checked(slow, 4_000_000)
    assert refusal.value.param == "messages"
    assert slow.now < 20.0


@pytest.mark.parametrize("rate", [200_000, 500_000, 2_000_000])  # characters/s
def test_a_tokenizer_that_takes_time_in_proportion_is_let_be(rate: float) -> None:
    slow = Slow(lambda length: length / rate)
    checked(slow, 1_000_000)
    assert slow.now <= 0.5 * 1_000_000 / rate


def test_a_text_of_too_many_tokens_is_refused_by_its_beginning() -> None:
    slow = Slow(lambda length: length / 1e6)
    with pytest.raises(ContextTooLong, match=r"at least \d+ tokens, must be at most 100: messages is too long"):
        checked(slow, 4_000_000, most=100)
    assert slow.now < 0.03


def characters(text: str) -> str:
    return text  # a tokenizer of one token for a character


@pytest.mark.parametrize(
    ("model", "body", "too_long"),
    [
        (ChatRequest, [{"role": "assistant", "content": "ok", "reasoning": "x" * 50_000}], False),
        (ChatRequest, [{"role": "assistant", "content": f"<think>{'x' * 50_000}</think>ok"}], False),
        (ChatRequest, [{"role": "system", "content": "x" * 50_000}, {"role": "system", "content": "y"}], False),
        (ChatRequest, [{"role": "user", "content": "x" + " " * 50_000}], False),
        (ChatRequest, [{"role": "system", "content": "x" * 50_000}], True),
        (ChatRequest, [{"role": "user", "content": "x" * 50_000}], True),
        (ChatRequest, [{"role": "tool", "content": "x" * 50_000}], True),
        (ResponsesRequest, [{"role": "user", "content": "x" * 50_000}], True),
        (TextRequest, "x" * 50_000, True),
        (TokenizeRequest, [{"role": "user", "content": "x" * 50_000}], True),
    ],
    ids=lambda value: str(value)[:60],
)
def test_only_what_every_template_prints_makes_a_prompt_too_long(model: type[Any], body: Any, too_long: bool) -> None:
    name = {ResponsesRequest: "input", TextRequest: "prompt"}.get(model, "messages")
    more = [{"role": "user", "content": "hi"}] if isinstance(body, list) else ""
    asked = model.model_validate({name: body + more})
    if not too_long:
        check_prompt(asked, characters, 1000)
        return
    with pytest.raises(ContextTooLong) as refusal:
        check_prompt(asked, characters, 1000)
    assert refusal.value.param == name


def test_instructions_are_certain_too() -> None:
    with pytest.raises(ContextTooLong) as refusal:
        check_prompt(ResponsesRequest(input="hi", instructions="x" * 50_000), characters, 1000)
    assert refusal.value.param == "instructions"


def test_texts_that_a_template_drops_are_bounded_in_time() -> None:
    dropped = {"role": "assistant", "content": "ok", "reasoning": "x" * 50_000}
    asked = ChatRequest.model_validate({"messages": [dropped, {"role": "user", "content": "hi"}]})
    times = iter(range(0, 10_000, 100))
    with pytest.raises(BadRequest, match="tokenizer would take more"):
        check_prompt(asked, characters, 10**9, clock=lambda: float(next(times)))


def test_a_short_text_is_encoded_once() -> None:
    slow = Slow(lambda length: 100.0)
    checked(slow, SHORT - 10)
    assert slow.now == 0.0


def test_time_is_real() -> None:
    with pytest.raises(BadRequest):
        check_length({"x": "y" * 100_000}, lambda text: time.sleep(0.05) or [], 10**9, encode_s=0.1)  # type: ignore[func-returns-value]
