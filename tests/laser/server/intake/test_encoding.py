"""Encoding has threads of its own, and no text holds them for long, whatever the tokenizer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from laser.server.api.errors import BadRequest, Busy, ContextTooLong, Unavailable
from laser.server.intake.encoding import SHORT, WAITING_LONG, EncodingPool, check_length
from laser.server.keys import ANYBODY, Caller


def test_long_texts_keep_short_ones_waiting_for_nothing() -> None:
    async def test() -> None:
        pool, free = EncodingPool(), threading.Event()
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
        pool, free = EncodingPool(), threading.Event()
        long = [asyncio.create_task(pool.run(free.wait, ANYBODY, SHORT + 1)) for _ in range(WAITING_LONG + 1)]
        await asyncio.sleep(0.01)
        with pytest.raises(Busy, match=f"{WAITING_LONG} long texts wait already"):
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
        pool, free, ran = EncodingPool(), threading.Event(), []
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
        pool = EncodingPool()
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0, ANYBODY, 1)
        pool.close()
        with pytest.raises(Unavailable):
            await pool.run(lambda: 1, ANYBODY, 1)

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


def test_a_short_text_is_encoded_once() -> None:
    slow = Slow(lambda length: 100.0)
    checked(slow, SHORT - 10)
    assert slow.now == 0.0


def test_time_is_real() -> None:
    with pytest.raises(BadRequest):
        check_length({"x": "y" * 100_000}, lambda text: time.sleep(0.05) or [], 10**9, encode_s=0.1)  # type: ignore[func-returns-value]
