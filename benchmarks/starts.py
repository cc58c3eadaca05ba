"""Measures how soon a server answers: from a cold start, to the first token, and again after its engine was killed.

Starts are told by stage, as the server's log tells them. The first token is timed with one client that streams, from
servers of both forms, in turns. The engine's process is killed under streams that go on; a server is back once it
answers a request. With --stop-s the engine's process is stopped for so long, and nothing else is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.streams import FORMS, cpu_seconds, stream
from benchmarks.support import report
from benchmarks.support.freezing import WHOLE, freeze
from benchmarks.support.kills import Kills, kill
from experiments.evaluation.questions import bundled_questions
from laser.server_process import serving

READY_S = 2.0  # most seconds of a start
FIRST_MS = 1.0  # most milliseconds that the engine's own process adds to the first token
BACK_S = 2.0  # most seconds that a server takes beyond a start to come back


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A cold start, seconds from its command."""

    form: str
    port_s: float  # until /health answers at all
    ready_s: float  # until requests are accepted
    cpu_s: float  # of all its processes until then
    stages: dict[str, float]  # of loading, as the log tells them: how long each took


def free_port() -> int:
    """Returns a port of the loopback interface that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def started(form: str) -> Start:
    """Starts a server, and ends it once it is ready."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        arguments = ["serve", FORMS[form], "--port", str(port), "--log-format", "json"]
        began = time.monotonic()
        answers = asyncio.create_task(_answers(f"http://127.0.0.1:{port}/health"))
        async with serving(arguments, log) as server:
            ready_s, cpu_s = time.monotonic() - began, cpu_seconds(server.pid)
        port_s = await answers - began
        records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    stages = next(record["stages"] for record in records if record.get("topic") == "loaded")
    return Start(form=form, port_s=port_s, ready_s=ready_s, cpu_s=cpu_s, stages=stages)


async def _answers(url: str) -> float:
    """Waits until an address answers; returns when that was."""
    async with httpx.AsyncClient(trust_env=False, timeout=60.0) as client:
        while True:
            try:
                await client.get(url)
                return time.monotonic()
            except httpx.TransportError:
                await asyncio.sleep(0.01)


async def first_token_ms(client: httpx.AsyncClient, question: str) -> float:
    """Returns the milliseconds from a request to the first piece of its stream."""
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": 8, "temperature": 0.0, "stream": True}
    began, seen = time.monotonic(), b""
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        found = None
        async for data in response.aiter_raw():
            seen += data
            if found is None and (b'"reasoning":' in seen or b'"content":"' in seen.replace(b'"content":""', b"")):
                found = (time.monotonic() - began) * 1e3
    if found is None:
        raise SystemExit(f"a stream without a piece of text: {seen[:300]!r}")
    return found


async def first_tokens(requests: int, seed: int) -> dict[str, float]:
    """Returns the median milliseconds to the first token, by form; both servers run, one is asked at a time."""
    questions = [question.text for question in bundled_questions(requests, seed=seed)]
    seen: dict[str, list[float]] = {form: [] for form in FORMS}
    async with AsyncExitStack() as stack:
        clients = {}
        for form, flag in FORMS.items():
            server = await stack.enter_async_context(serving(["serve", flag, "--port", "0"]))
            client = httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60.0)
            clients[form] = await stack.enter_async_context(client)
            await first_token_ms(clients[form], questions[0])  # the connection, and what is loaded late
        for number, question in enumerate(questions):
            for form in sorted(clients, reverse=number % 2 == 1):
                seen[form].append(await first_token_ms(clients[form], question))
    return {form: median(times) for form, times in seen.items()}


async def killed(times: int, streams: int, seed: int) -> Kills:
    """Kills the engine's process so many times under `streams` streams; each kill waits until the server is back."""
    questions, kills, over = bundled_questions(100, seed=seed), Kills(), count()
    ended = {"requests": 0}
    places = [streams * (n + 1) for n in range(times)]
    async with serving(["serve", "--port", "0"]) as server:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=120.0, limits=limits) as client:

            async def keep_asking() -> None:
                while len(kills.back_s) + len(kills.faults) < times:
                    try:
                        await stream(client, questions[next(over) % len(questions)].text)
                    except (httpx.HTTPError, IndexError):  # refused while there is no engine, or ended by its end
                        await asyncio.sleep(0.1)
                    ended["requests"] += 1

            asking = [asyncio.create_task(keep_asking()) for _ in range(streams)]
            await kill(server, lambda: ended["requests"], kills, places)
            await asyncio.gather(*asking)
    return kills


def start_lines(starts: Sequence[Start]) -> list[str]:
    """Returns what the starts took, by form, in words."""
    lines = []
    for form in FORMS:
        seen = [start for start in starts if start.form == form]
        ready_s = median(start.ready_s for start in seen)
        stages = {name: median(start.stages[name] for start in seen) for name in seen[0].stages}
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items())
        port_s, cpu_s = median(start.port_s for start in seen), median(start.cpu_s for start in seen)
        kept = "✓" if ready_s <= READY_S else "✗"
        lines.append(
            f"{form}: /health answers after {port_s:.2f} s, ready after {ready_s:.2f} ≤ {READY_S:g} s {kept} "
            f"with {cpu_s:.2f} CPU s (medians of {len(seen)}); loading by stage, s: {parts}"
        )
    return lines


async def stopped(options: argparse.Namespace) -> dict[str, Any]:
    """Stops the engine's process under streams, and prints what was seen. Ends the command if anything was lost."""
    drawn = bundled_questions(options.streams, seed=options.seed)[: options.streams]
    questions = [question.text for question in drawn]
    async with serving(["serve", "--port", "0", "--no-early-exit", "--no-loop-detection"]) as server:
        found = await freeze(server, questions, options.stop_s)
    told = "never" if found.told_s is None else f"after {found.told_s:.1f} s"
    print(
        f"stopped for {found.stopped_s:.0f} s under {options.streams} streams: /health told it {told}; "
        f"{found.ends.count(WHOLE)} streams went on to their end"
    )
    if found.faults:
        raise SystemExit("\n".join(found.faults))
    return asdict(found)


async def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Measures all, and prints it."""
    starts = [await started(form) for _ in range(options.starts) for form in FORMS]
    print("\n".join(start_lines(starts)), flush=True)
    first = await first_tokens(options.requests, options.seed)
    apart, alone = first["two processes"], first["one process"]
    print(
        f"first token with one client: {apart:.2f} ms with two processes, {alone:.2f} with one: "
        f"{apart - alone:+.2f} ≤ +{FIRST_MS:g} ms {'✓' if apart - alone <= FIRST_MS else '✗'} (medians)",
        flush=True,
    )
    kills = await killed(options.kills, options.streams, options.seed)
    start_s = median(start.ready_s for start in starts if start.form == "two processes")
    most = start_s + BACK_S
    within = sum(back_s <= most for back_s in kills.back_s)
    print(
        f"{len(kills.back_s)} kills under {options.streams} streams: back after {median(kills.back_s):.2f} s (median), "
        f"{max(kills.back_s):.2f} at most; {within} within a start and {BACK_S:g} s, {most:.2f} s"
    )
    return {
        "starts": [asdict(start) for start in starts],
        "first_token_ms": first,
        "back_s": kills.back_s,
        "descriptors": kills.descriptors,
        "faults": kills.faults,
    }


def main() -> None:
    """Command line: measure, print, and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starts", description=__doc__)
    parser.add_argument("--starts", type=int, default=5, help="cold starts of each form")
    parser.add_argument("--requests", type=int, default=100, help="whose first token is timed, of each form")
    parser.add_argument("--kills", type=int, default=10, help="of the engine's process")
    parser.add_argument("--streams", type=int, default=32, help="that go on while it is killed")
    parser.add_argument("--stop-s", type=float, help="stop the engine's process for so long under the streams")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    ran = report.circumstances("benchmarks.starts", options.seed)
    found = asyncio.run(measured(options) if options.stop_s is None else stopped(options))
    if options.out is not None:
        report.write(options.out, ran, found)


if __name__ == "__main__":
    main()
