"""How fast this machine decodes beside the one whose profile the bundled model has: so much traffic it is given."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing

import httpx

from experiments.evaluation.questions import bundled_questions
from laser.client import End, ReplyError, stream
from laser.server_process import ServerError
from models.profile.plant import StepTime
from models.profile.profile import Profile

AT_ONCE = 8  # replies that are timed
TOKENS = 120  # of each, at most
TIMEOUT_S = 120.0


async def speed(url: str, profile: Profile, clock: Callable[[], float] = time.perf_counter) -> float:
    """Returns the decoding speed of the server at `url` over that of the profile's machine.

    Full thoughts are decoded at once, after one alone that warms the server up. Raises ServerError if none is
    answered.
    """
    questions = [each.text for each in bundled_questions(2, 0)][:AT_ONCE]
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=TIMEOUT_S) as client:
            await _tokens(client, questions[0])
            began = clock()
            lengths = await asyncio.gather(*(_tokens(client, question) for question in questions))
            took_s = clock() - began
    except (httpx.HTTPError, ReplyError) as error:
        raise ServerError(f"laser serve does not answer: {error}") from error
    return expected_s(lengths, profile.plant.step_time, profile.plant.context) / took_s


def expected_s(lengths: Sequence[int], step_time: StepTime, context: float) -> float:
    """Returns the seconds that replies of these lengths, begun at once, take by a profile's step times."""
    return sum(
        step_time.seconds(sum(length > step for length in lengths), context) for step in range(max(lengths, default=0))
    )


async def _tokens(client: httpx.AsyncClient, question: str) -> int:
    body = {
        "messages": [{"role": "user", "content": question}], "max_tokens": TOKENS, "temperature": 0.0,
        "early_exit": False, "stream_options": {"include_usage": True},
    }  # fmt: skip
    async with aclosing(stream(client, body)) as pieces:
        async for piece in pieces:
            if isinstance(piece, End):
                return int(piece.usage["completion_tokens"])
    raise ReplyError("the reply has no end")
