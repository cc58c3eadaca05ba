"""Sends thousands of requests over HTTP to a server whose engine sometimes fails; a tenth of the clients vanish.

Every request must end in an answer that is not empty or in a clear error, the server must go on serving, its memory
must stay flat and its cache must end empty. The faults are exceptions in steps of the engine, at a given rate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

from benchmarks.support import report
from benchmarks.support.kills import Kills, end_both, faults, kill
from benchmarks.support.memory import growth
from engine.base import Engine, Event
from engine.wrapper import EngineWrapper
from experiments.evaluation.questions import bundled_questions
from laser.server_process import ServerError, ServerProcess, serving

GROWTH = 16.0  # MiB by which resident memory may grow after the warm-up: noise
KNOWN = {200, 400, 429, 500, 503, 504}
GONE = "client gone"


class Faulty(EngineWrapper):
    """An engine whose steps fail at random."""

    def __init__(self, engine: Engine, rate: float, rng: random.Random) -> None:
        super().__init__(engine)
        self._rate, self._rng = rate, rng

    def step(self) -> list[Event]:
        if self._rng.random() < self._rate:
            raise RuntimeError("an injected fault")
        return self.engine.step()


@dataclass(slots=True)
class HttpSoak:
    """How the requests of a run ended."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    memory: list[tuple[int, float]] = field(default_factory=list)  # requests over, MiB

    @property
    def growth(self) -> float:
        """MiB by which the server's memory grew after the warm-up."""
        return growth(self.memory)


async def one(client: httpx.AsyncClient, rng: random.Random, question: str, vanishing: float) -> str:
    """Sends one random request; returns how it ended. Raises AssertionError unless by an answer or a clear error."""
    messages = [{"role": "user", "content": question}]
    path, body = rng.choice(
        [
            ("/v1/chat/completions", {"messages": messages, "max_tokens": rng.randint(1, 400)}),
            ("/v1/responses", {"input": question, "max_output_tokens": rng.randint(16, 400)}),
            ("/v1/completions", {"prompt": question, "max_tokens": rng.randint(1, 60)}),
            ("/v1/chat/completions", {"messages": messages, "max_tokens": -1}),
        ]
    )
    body = {**body, "stream": rng.random() < 0.6, "temperature": rng.choice([0.0, 0.8])}
    patience = rng.expovariate(2.0) if rng.random() < vanishing else None
    try:
        async with asyncio.timeout(patience):
            response = await client.post(path, json=body)
    except TimeoutError:
        return GONE
    assert response.status_code in KNOWN, f"{path} answered {response.status_code}"
    if response.status_code != 200:
        assert response.json()["error"]["message"], f"{path} answered {response.status_code} without a word"
        return f"error {response.status_code}"
    if body["stream"]:
        return streamed(path, response.text)
    text = answer(path, response.json())
    assert text, f"{path}: an empty answer to {body}"
    return "answer"


def answer(path: str, reply: dict[str, Any]) -> str:
    """Returns the answer of a whole reply."""
    if path == "/v1/responses":
        return str(reply["output"][-1]["content"][0]["text"])
    choice = reply["choices"][0]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


def streamed(path: str, text: str) -> str:
    """Returns how a stream ended. Raises AssertionError if the stream broke off or is empty."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    last = events[-1]
    if path == "/v1/responses":
        assert last["type"] in {"response.completed", "response.incomplete", "response.failed"}, last
        if last["type"] == "response.failed":
            assert last["response"]["error"]["message"]
            return f"error in the stream: {last['response']['error'].get('code')}"
        said = answer(path, last["response"])
    else:
        assert lines[-1] == "[DONE]", lines[-1]
        if "error" in last:
            assert last["error"]["message"]
            return f"error in the stream: {last['error']['code']}"
        choices = [event["choices"][0] for event in events if event["choices"]]
        said = "".join(choice.get("delta", {}).get("content", "") + choice.get("text", "") for choice in choices)
    assert said, f"{path}: an empty stream"
    return "answer in a stream"


async def run(
    served: ServerProcess,
    soak: HttpSoak,
    *,
    requests: int,
    clients: int,
    vanishing: float,
    rng: random.Random,
) -> HttpSoak:
    """Sends `requests` requests from `clients` clients at once; `soak` tells meanwhile how they end."""
    process, questions = psutil.Process(served.pid), bundled_questions(60, seed=rng.randrange(2**31))
    every, left = max(1, requests // 40), iter(range(requests))

    async def keep_asking(client: httpx.AsyncClient) -> None:
        for _ in left:
            try:
                end = await one(client, rng, rng.choice(questions).text, vanishing)
            except (AssertionError, httpx.HTTPError, ValueError, KeyError, IndexError) as error:
                end = "fault"
                soak.faults.append(f"{type(error).__name__}: {error}")
            soak.ends[end] += 1
            over = soak.ends.total()
            if over % every == 0:
                soak.memory.append((over, process.memory_info().rss / 2**20))
                print(f"{over:>6} over   {soak.memory[-1][1]:8.1f} MiB   {dict(soak.ends)}", flush=True)

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=served.url, trust_env=False, timeout=120.0, limits=limits) as client:
        await asyncio.gather(*(keep_asking(client) for _ in range(clients)))
    # the server closes connections that were idle meanwhile, perhaps just as one is used again
    async with httpx.AsyncClient(base_url=served.url, trust_env=False, timeout=120.0) as client:
        await settle(client, soak)
    if soak.growth > GROWTH:
        soak.faults.append(f"memory grew by {soak.growth:.1f} MiB after the warm-up, may be {GROWTH}")
    return soak


async def settle(client: httpx.AsyncClient, soak: HttpSoak) -> None:
    """Waits until the server holds no request and no cells; adds a fault if it still does after 100 looks."""
    for _ in range(100):
        queue = (await client.get("/laser/queue")).json()
        metrics = (await client.get("/metrics")).text
        usage = next(line for line in metrics.splitlines() if line.startswith("laser_kv_cache_usage")).split()[1]
        if queue["running"] == queue["waiting"] == 0 and float(usage) == 0.0:
            return
        await asyncio.sleep(0.1)
    soak.faults.append(f"the server still holds something: {queue}, {usage} of its cells")


def serve(model: Path | None, faults: float, seed: int, ready_fd: int) -> None:
    """Runs a server with the faulty engine."""
    import logging

    import uvicorn

    from laser.server.app import create_app
    from laser.server.config import ServeConfig
    from laser.server.deployment import deploy
    from laser.server.run import listen
    from laser.server.service import Service

    logging.disable(logging.CRITICAL)
    rng = random.Random(seed)
    deployment = deploy(ServeConfig(model=model), lambda engine: Faulty(engine, faults, rng))
    with listen("127.0.0.1", 0) as listener:
        with open(ready_fd, "w", encoding="utf-8") as ready:
            ready.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
        uvicorn.Server(uvicorn.Config(create_app(Service(deployment)), log_level="error")).run(sockets=[listener])


async def soaked(options: argparse.Namespace, kills: Kills) -> HttpSoak:
    """Serves and soaks; with --kills, kills."""
    rng, soak = random.Random(options.seed), HttpSoak()
    arguments = [] if options.model is None else ["--model", str(options.model)]

    async def run_it(served: ServerProcess) -> None:
        asked = {name: getattr(options, name) for name in ("requests", "clients", "vanishing")}
        await run(served, soak, rng=rng, **asked)

    if not options.kills:
        arguments += ["--faults", str(options.faults), "--seed", str(options.seed)]
        async with serving(arguments, options.log, module="benchmarks.soak_http") as served:
            await run_it(served)
        return soak
    places = [options.requests * (n + 1) // (options.kills + 1) for n in range(options.kills)]
    with suppress(ServerError):  # it is killed
        async with serving(["serve", "--port", "0", *arguments], options.log) as served:
            await asyncio.gather(run_it(served), kill(served, soak.ends.total, kills, places))
            await end_both(served, kills)
    soak.faults += faults(soak.ends, kills)
    return soak


def main() -> None:
    """Command line: run, print, exit with what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak_http", description=__doc__)
    parser.add_argument("--model", type=Path, help="model directory (default: the bundled model)")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=48, help="at once")
    parser.add_argument("--vanishing", type=float, default=0.1, help="share of clients that go away")
    parser.add_argument("--faults", type=float, default=1e-3, help="share of engine steps that fail")
    parser.add_argument("--kills", type=int, default=0, help="of the engine's process, instead of failing steps")
    parser.add_argument("--log", type=Path, help="where the server's log goes (default: nowhere)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)  # given: this process is the server
    options = parser.parse_args()
    if options.ready_fd is not None:
        serve(options.model, options.faults, options.seed, options.ready_fd)
        return
    ran = report.circumstances("benchmarks.soak_http", options.seed)
    kills = Kills()
    soak = asyncio.run(soaked(options, kills))
    summary = {
        "requests": soak.ends.total(),
        "ends": dict(soak.ends),
        "memory_growth_mib": round(soak.growth, 1),
        "faults": soak.faults,
        "memory_mib": soak.memory,
        "back_s": kills.back_s,
        "descriptors": kills.descriptors,
        "orphan_s": kills.orphan_s,
    }
    if options.out is not None:
        report.write(options.out, ran, summary)
    if soak.faults:
        raise SystemExit("\n".join(soak.faults[:20]))
    print(f"Every request has ended in an answer or a clear error; memory grew by {soak.growth:.1f} MiB.")
    if kills.back_s:
        print(
            f"{len(kills.back_s)} kills: it answered again after {median(kills.back_s):.1f} s (median), "
            f"{max(kills.back_s):.1f} s at most; descriptors {kills.descriptors[0]} to {kills.descriptors[-1]}; killed "
            f"itself, its engine outlived it by {kills.orphan_s:.2f} s"
        )


if __name__ == "__main__":
    main()
