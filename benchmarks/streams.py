"""Measures, with many streams at once, the lateness of the server's event loop and the cost of HTTP.

Three setups take turns, with the same number of requests at once: the serving loop alone in this process, and a `laser
serve` whose clients stream, with its engine in its own process and in that of HTTP. Thoughts run to their end,
unprobed. Lateness is the server's `laser_event_loop_lag_seconds`; CPU seconds are those of all its processes.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median

import httpx
import psutil

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


FORMS = {"two processes": "--no-in-process", "one process": "--in-process"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTurn:
    """What was seen of a server in one turn, after the warm-up."""

    tokens_s: float
    events_per_token: float  # server-sent events with a piece of text
    cpu_s: float  # of all its processes, per 1,000 tokens
    late: dict[float, int]  # by limit, s: event-loop calls that were at most this late


class WarmTokens:
    """Counts the tokens of replies that end after the warm-up."""

    def __init__(self, seconds: float) -> None:
        self._began = time.monotonic()
        self._seconds = seconds
        self._tokens = 0
        self._events = 0

    @property
    def over(self) -> bool:
        return time.monotonic() - self._began >= self._seconds

    def reply(self, tokens: int, events: int = 0) -> None:
        if self._seconds * WARM <= time.monotonic() - self._began < self._seconds:
            self._tokens += tokens
            self._events += events

    @property
    def events_per_token(self) -> float:
        return self._events / self._tokens

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
    config: ServeConfig, questions: Sequence[Question], streams: int, seconds: float, form: str
) -> StreamTurn:
    """Serves over HTTP, in one of the FORMS, and returns what was seen."""
    arguments = [
        "serve",
        FORMS[form],
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
                ended.reply(*await stream(client, questions[next(numbers) % len(questions)].text))

        async def look() -> tuple[float, dict[float, int]]:
            await asyncio.sleep(seconds * WARM)
            before, cpu_s = await lateness(client), cpu_seconds(server.pid)
            await asyncio.sleep(seconds * (1.0 - WARM))
            cpu_s = cpu_seconds(server.pid) - cpu_s
            return cpu_s, {limit: calls - before[limit] for limit, calls in (await lateness(client)).items()}

        looking = asyncio.create_task(look())
        await asyncio.gather(*(keep_asking() for _ in range(streams)))
        cpu_s, late = await looking
    tokens = ended.rate * seconds * (1.0 - WARM)
    return StreamTurn(
        tokens_s=ended.rate, events_per_token=ended.events_per_token, cpu_s=1e3 * cpu_s / tokens, late=late
    )


def cpu_seconds(server: int) -> float:
    """Returns the CPU time of a server's processes so far, s."""
    process = psutil.Process(server)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


async def stream(client: httpx.AsyncClient, text: str) -> tuple[int, int]:
    """Streams one reply; returns its number of tokens, and of events."""
    body = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": MAX_TOKENS,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    end, events = b"", 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for data in response.aiter_raw():
            events += data.count(b"data: ")
            end = (end + data)[-2000:]
    return int(re.findall(rb'"completion_tokens": ?(\d+)', end)[-1]), events


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
    alone_s: list[float] = []
    turns: dict[str, list[StreamTurn]] = {form: [] for form in FORMS}
    for _ in range(options.turns):
        alone_s.append(alone(config, questions, options.streams, options.seconds))
        print(f"alone {alone_s[-1]:.0f} tokens/s", flush=True)
        for form, seen in turns.items():
            seen.append(asyncio.run(served(config, questions, options.streams, options.seconds, form)))
            print(f"{form}: {in_words(alone_s[-1:], seen[-1:])}", flush=True)
    print("medians")
    for form, seen in turns.items():
        print(f"{form}: {in_words(alone_s, seen)}")
        for limit, within in lateness_of(seen).items():
            print(f"  event loop at most {limit * 1e3:g} ms late: {within:.2%} of its calls")
    if options.out is not None:
        found = {form: [asdict(turn) for turn in seen] for form, seen in turns.items()}
        report.write(options.out, ran, {"alone_tokens_s": alone_s, "served": found})


def in_words(alone_s: Sequence[float], seen: Sequence[StreamTurn]) -> str:
    """Returns the medians of turns in words; `alone_s`: tokens/s of the loop alone, of the same turns."""
    adds = median(own / turn.tokens_s - 1.0 for own, turn in zip(alone_s, seen, strict=True))
    return (
        f"{median(turn.tokens_s for turn in seen):.0f} tokens/s, HTTP adds {adds:.1%} to the engine's own time; "
        f"{median(turn.events_per_token for turn in seen):.3f} events per token; "
        f"{median(turn.cpu_s for turn in seen):.3f} CPU s per 1,000 tokens"
    )


def lateness_of(seen: Sequence[StreamTurn]) -> dict[float, float]:
    """Returns the share of all turns' event-loop calls that were at most so late, by limit, s."""
    calls = sum(max(turn.late.values()) for turn in seen)
    return {limit: sum(turn.late[limit] for turn in seen) / calls for limit in seen[0].late}


if __name__ == "__main__":
    main()
