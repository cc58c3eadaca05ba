"""Attacks a server with bodies that cost more to read than to send, and measures what other clients feel of it.

The server runs in this process, so that its event loop can be sampled every millisecond, and its engine in one of its
own, or with --in-process in this one, too; the attackers are another process. Each attack is sent in rounds of several
at once, while one client goes on asking small questions. A process that does nothing samples an event loop of its own:
its lag is the machine's, which has few cores for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from laser.server.config import ServeConfig
from laser.server.deployment import deploy
from laser.server.engine_process.child import launched
from laser.server.engine_process.front import FrontDoor
from laser.server.engine_process.remote import open_service
from laser.server.intake.listener import listen
from laser.server.run import DrainingServer
from laser.server.service import Service

MIB = 1024 * 1024
FULL = 4 * MIB - 1024  # bytes of a body, a little below what the server takes
EVERY_S = 0.001
QUESTION = "Given 37, 82, 51, 92, what is the largest number?"


def _chat(content: Any, **more: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 8, **more}).encode()


def _turns(*turns: tuple[str, str]) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}).encode()


def _messages(count: int) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "x"}] * count}).encode()


def _nonsense(rng: random.Random) -> bytes:
    return _chat("".join(rng.choices("0123456789 abcdefghijklmnopqrstuvwxyz{}[],:", k=FULL - 100)))


ATTACKS: dict[str, Callable[[random.Random], tuple[str, bytes]]] = {
    "100,000 messages": lambda rng: ("/v1/chat/completions", _messages(100_000)),
    "16,000 messages": lambda rng: ("/v1/chat/completions", _messages(16_000)),
    "2,000 messages": lambda rng: ("/v1/chat/completions", _messages(2_000)),
    "a list of 2 million zeros": lambda rng: ("/v1/chat/completions", b'{"messages":[' + b"0," * 2_000_000 + b"0]}"),
    "400,000 keys": lambda rng: (
        "/v1/chat/completions",
        b'{"x":{' + b",".join(b'"%06d":0' % number for number in range(350_000)) + b"}}",
    ),
    "2 million brackets": lambda rng: ("/v1/chat/completions", b"[" * 2_000_000),
    "300,000 tokens": lambda rng: ("/v1/completions", json.dumps({"prompt": [5] * 300_000}).encode()),
    "a million tokens to be text": lambda rng: ("/detokenize", json.dumps({"tokens": [5] * 1_000_000}).encode()),
    "150,000 blanks": lambda rng: ("/v1/chat/completions", _chat(" " * 150_000)),
    "4 MB of blanks": lambda rng: ("/v1/chat/completions", _chat(" " * (FULL - 100))),
    "4 MB of nonsense": lambda rng: ("/v1/chat/completions", _nonsense(rng)),
    "4 MB said before": lambda rng: (
        "/v1/chat/completions",
        _turns(("assistant", "a" * (FULL - 200)), ("user", "x")),
    ),
    "4 MB of instructions": lambda rng: (
        "/v1/responses", json.dumps({"input": "x", "instructions": "a" * (FULL - 100)}).encode()
    ),
    "a landing of 4 MB": lambda rng: (
        "/v1/chat/completions", _chat("x", reasoning_budget_message="a" * (FULL - 200))
    ),
    "4 MB to be tokens": lambda rng: ("/tokenize", json.dumps({"prompt": "a" * (FULL - 100)}).encode()),
    "900 kB to be tokens": lambda rng: ("/tokenize", json.dumps({"prompt": "1" * 900_000}).encode()),
}  # fmt: skip


@dataclass(slots=True)
class Felt:
    """What was measured during one attack."""

    lags_s: list[float] = field(default_factory=list)
    idle_s: list[float] = field(default_factory=list)  # the worst lag of each quarter of a second without a server
    waits_s: list[float] = field(default_factory=list)  # of the small questions
    resident: list[int] = field(default_factory=list)  # bytes, of the server and its children


class Watch:
    """Samples the event loop's lag every millisecond, memory and a small question's time; `felt` may be replaced."""

    def __init__(self, url: str) -> None:
        self.felt = Felt()
        self._url = url

    async def lag(self) -> None:
        """Samples the event loop's lag, without end."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self.felt.lags_s.append(max(0.0, loop.time() - due))

    async def memory(self) -> None:
        """Samples the resident memory of this process and of the one that reads bodies, without end."""
        while True:
            self.felt.resident.append(await asyncio.to_thread(resident))  # not on the loop that is sampled
            await asyncio.sleep(0.02)


def resident() -> int:
    """The resident bytes of this process and its children, attackers apart; shared pages count for each."""
    total = 0
    for process in (os.getpid(), *_children(os.getpid())):
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes()
            if b"--attacker" not in command:
                total += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue  # it has ended meanwhile
    return total


def _children(parent: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


@asynccontextmanager
async def served(in_process: bool) -> AsyncIterator[str]:
    """Serves the bundled model from this process, and gives the address."""
    config = ServeConfig(default_max_tokens=64, in_process=in_process)
    ready = asyncio.Event()
    with listen(config.host, 0) as listener, ExitStack() as stack:
        child = None if in_process else stack.enter_context(launched(config))

        async def load(_front: FrontDoor) -> Service:
            return Service(deploy(config)) if child is None else await open_service(config, child, lambda stage: None)

        server = DrainingServer(config, load, ready=lambda _: ready.set())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await ready.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


async def send(url: str, attack: str, at_once: int, rounds: int, seed: int) -> Counter[str]:
    """The attacker: sends an attack `rounds` times, `at_once` at once; returns how often each status came."""
    path, body = ATTACKS[attack](random.Random(seed))
    told: Counter[str] = Counter()
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
        for _ in range(rounds):
            posts = (client.post(path, content=body, headers=headers) for _ in range(at_once))
            for answer in await asyncio.gather(*posts, return_exceptions=True):
                told[type(answer).__name__ if isinstance(answer, BaseException) else str(answer.status_code)] += 1
    return told


async def ask(url: str, watch: Watch) -> None:
    """One client that asks small questions, and notes how long they take."""
    body = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 16, "reasoning_effort": "none"}
    async for wait_s in _told("--attacker", url, "--ask", json.dumps(body)):
        watch.felt.waits_s.append(wait_s)


async def idle(watch: Watch) -> None:
    """A process without a server, and how late its event loop is."""
    async for lag_s in _told("--attacker", "", "--idle"):
        watch.felt.idle_s.append(lag_s)


async def _told(*arguments: str) -> AsyncIterator[float]:
    """Yields the numbers that this module prints with `arguments` in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.attack", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            yield float(line)
    finally:
        process.kill()
        await process.wait()


async def asking(url: str, body: str) -> None:
    """Asks again and again, and prints the seconds."""
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
        while True:
            began = time.perf_counter()
            answer = await client.post("/v1/chat/completions", json=json.loads(body))
            answer.raise_for_status()
            print(time.perf_counter() - began, flush=True)
            await asyncio.sleep(0.05)


async def streaming(url: str, streams: int) -> None:
    """Keeps so many streams of full thoughts going."""
    body = {
        "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 640, "stream": True,
        "laser": {"early_exit": False},
    }  # fmt: skip
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False, limits=limits) as client:

        async def keep_asking() -> None:
            while True:
                async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                    async for _ in response.aiter_raw():
                        pass

        await asyncio.gather(*(keep_asking() for _ in range(streams)))


async def idling() -> None:
    """Samples the lag of an event loop that does nothing else, and prints the worst of each quarter of a second."""
    loop = asyncio.get_running_loop()
    while True:
        worst, until = 0.0, loop.time() + 0.25
        while loop.time() < until:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            worst = max(worst, loop.time() - due)
        print(worst, flush=True)


async def stream_beside(url: str, streams: int) -> None:
    """Has another process keep streams going."""
    async for _ in _told("--attacker", url, "--streams", str(streams)):
        pass


async def measure(at_once: int, rounds: int, seed: int, chosen: list[str], streams: int, in_process: bool) -> None:
    """Runs the attacks one after another, and prints a table."""
    async with served(in_process) as url:
        watch = Watch(url)
        tasks = [asyncio.create_task(each) for each in (watch.lag(), watch.memory(), ask(url, watch), idle(watch))]
        tasks += [asyncio.create_task(stream_beside(url, streams))] if streams else []
        try:
            await asyncio.sleep(5.0)  # the first questions, and imports that they need
            watch.felt = Felt()
            await asyncio.sleep(10.0)
            columns = ("attack", "answers", "lag, ms", "99.9 %", "idle process", "question, s", "MiB", "after")
            print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
            start = resident()
            tell("none", Counter(), watch.felt, start)
            for attack in chosen:
                watch.felt = Felt()
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "benchmarks.attack", "--attacker", url, "--only", attack,
                    "--at-once", str(at_once), "--rounds", str(rounds), "--seed", str(seed),
                    stdout=asyncio.subprocess.PIPE,
                )  # fmt: skip
                said, _ = await process.communicate()
                await asyncio.sleep(2.0)  # until memory has come back
                tell(attack, Counter(json.loads(said)), watch.felt, start)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def tell(attack: str, told: Counter[str], felt: Felt, start: int) -> None:
    """Prints one row. `start`: resident bytes before all attacks."""
    answers = ", ".join(f"{count} × {status}" for status, count in sorted(told.items()))
    lags = np.array(felt.lags_s) * 1e3
    idle_ms, wait_s = (max(each, default=float("nan")) for each in (felt.idle_s, felt.waits_s))
    most, after = ((each - start) / MIB for each in (max(felt.resident), felt.resident[-1]))
    print(
        f"| {attack} | {answers} | {lags.max():.0f} | {np.quantile(lags, 0.999):.0f} | {idle_ms * 1e3:.0f} "
        f"| {wait_s:.2f} | {most:+.0f} | {after:+.0f} |",
        flush=True,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attack", description=__doc__)
    parser.add_argument("--at-once", type=int, default=12, help="requests of an attack at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=list(ATTACKS), help="an attack; may be given several times")
    parser.add_argument("--streams", type=int, default=0, help="that go on beside the attacks")
    parser.add_argument("--in-process", action="store_true", help="the engine, too, runs in the sampled process")
    parser.add_argument("--attacker", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    parser.add_argument("--idle", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.idle:
        asyncio.run(idling())
    elif options.attacker is not None and options.streams:
        asyncio.run(streaming(options.attacker, options.streams))
    elif options.ask is not None:
        asyncio.run(asking(options.attacker, options.ask))
    elif options.attacker is not None:
        told = asyncio.run(send(options.attacker, options.only[0], options.at_once, options.rounds, options.seed))
        print(json.dumps(told))
    else:
        asyncio.run(
            measure(
                options.at_once, options.rounds, options.seed, options.only or list(ATTACKS), options.streams,
                options.in_process,
            )
        )  # fmt: skip


if __name__ == "__main__":
    main()
