"""Measures, with many streams at once, the lateness of the server's event loop and the cost of HTTP.

Two setups take turns, with the same number of requests at once: the serving loop alone in this process, and a `laser
serve` whose clients stream. Thoughts run to their end, unprobed. Lateness is the server's
`laser_event_loop_lag_seconds`.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.support import report
from controller.policies.none import FullThought
from controller.policies.registry import kind_of
from controller.serving.reply import Delta
from controller.serving.request import Outcome, ReasoningRequest
from engine.base import Sampling
from experiments.evaluation.questions import bundled_questions
from experiments.question import Question
from laser.server.config import ServeConfig
from laser.server.deployment import deploy
from laser.server_process import serving

MAX_TOKENS = 640  # of a reply
WARM = 1 / 3  # share of the time that is not counted


class WarmTokens:
    """Counts the tokens of replies that end after the warm-up."""

    def __init__(self, seconds: float) -> None:
        self._began = time.monotonic()
        self._seconds = seconds
        self._tokens = 0

    @property
    def over(self) -> bool:
        return time.monotonic() - self._began >= self._seconds

    def reply(self, tokens: int) -> None:
        if self._seconds * WARM <= time.monotonic() - self._began < self._seconds:
            self._tokens += tokens

    @property
    def rate(self) -> float:
        """Tokens/s after the warm-up. Ends the benchmark if no reply ended then."""
        if self._tokens == 0:
            raise SystemExit(
                f"no reply ended within the counted {1.0 - WARM:.0%} of {self._seconds:g} s: give more --seconds"
            )
        return self._tokens / (self._seconds * (1.0 - WARM))


def alone(config: ServeConfig, questions: Sequence[Question], streams: int, seconds: float) -> float:
    """Returns the tokens/s of the serving loop alone, without HTTP."""
    deployment = deploy(config)
    loop, chat = deployment.loop, deployment.chat
    prompts = [chat.prompt([{"role": "user", "content": question.text}]) for question in questions]
    numbers, ended = count(), WarmTokens(seconds)

    def begin() -> None:
        prompt = prompts[next(numbers) % len(prompts)]
        request = ReasoningRequest(prompt=prompt, max_tokens=MAX_TOKENS, sampling=Sampling(temperature=0.0))
        loop.submit(request, take)

    def take(item: Delta | Outcome) -> None:
        if isinstance(item, Outcome):
            ended.reply(item.completion_tokens)
            begin()

    for _ in range(streams):
        begin()
    while not ended.over:
        loop.tick()
    deployment.chosen.close()
    return ended.rate


async def served(
    config: ServeConfig, questions: Sequence[Question], streams: int, seconds: float
) -> tuple[float, dict[float, int]]:
    """Returns the tokens/s over HTTP, and by limit, s, the number of event-loop calls that were at most this late."""
    arguments = [
        "serve",
        "--port",
        "0",
        "--policy",
        kind_of(config.policy),
        "--max-batch",
        str(config.engine_options.max_batch),
    ]
    arguments += ["--threads", str(config.threads)]
    arguments += [] if config.model is None else ["--model", str(config.model)]
    numbers = count()
    limits = httpx.Limits(max_connections=None)
    async with (
        serving(arguments) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=120.0, limits=limits) as client,
    ):
        ended = WarmTokens(seconds)

        async def keep_asking() -> None:
            while not ended.over:
                ended.reply(await stream(client, questions[next(numbers) % len(questions)].text))

        async def look() -> tuple[dict[float, int], dict[float, int]]:
            await asyncio.sleep(seconds * WARM)
            before = await lateness(client)
            await asyncio.sleep(seconds * (1.0 - WARM))
            return before, await lateness(client)

        looking = asyncio.create_task(look())
        await asyncio.gather(*(keep_asking() for _ in range(streams)))
        before, after = await looking
    return ended.rate, {limit: calls - before[limit] for limit, calls in after.items()}


async def stream(client: httpx.AsyncClient, text: str) -> int:
    """Streams one reply; returns its number of tokens."""
    body = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": MAX_TOKENS,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    end = b""
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for data in response.aiter_raw():
            end = (end + data)[-2000:]
    return int(re.findall(rb'"completion_tokens": ?(\d+)', end)[-1])


async def lateness(client: httpx.AsyncClient) -> dict[float, int]:
    """Returns, by limit, s, the number of the server's event-loop calls that were at most this late."""
    text = (await client.get("/metrics")).text
    found = re.findall(r'laser_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', text)
    return {float(limit): int(float(calls)) for limit, calls in found}


def main() -> None:
    """Command line: run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--model", type=Path, help="model directory (default: the bundled model)")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    ran = report.circumstances("benchmarks.streams", options.seed)
    config = ServeConfig(model=options.model, policy=FullThought(), max_batch=options.streams, threads=1)
    questions = bundled_questions(100, seed=options.seed)
    turns: list[dict[str, Any]] = []
    late: dict[float, int] = {}
    for _ in range(options.turns):
        own = alone(config, questions, options.streams, options.seconds)
        rate, seen = asyncio.run(served(config, questions, options.streams, options.seconds))
        late = {limit: late.get(limit, 0) + calls for limit, calls in seen.items()}
        turns.append({"alone_tokens_s": own, "served_tokens_s": rate, "http_s_over_own": own / rate - 1.0})
        print(f"alone {own:.0f} tokens/s, served {rate:.0f}: HTTP adds {own / rate - 1.0:.1%}", flush=True)
    calls = max(late.values())
    print(f"HTTP adds {median(turn['http_s_over_own'] for turn in turns):.1%} to the engine's own time (median)")
    for limit, within in late.items():
        print(f"event loop at most {limit * 1e3:g} ms late: {within / calls:.2%} of {calls} calls")
    if options.out is not None:
        report.write(options.out, ran, {"turns": turns, "event_loop_late_at_most_s": late})


if __name__ == "__main__":
    main()
