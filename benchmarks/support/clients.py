"""Clients of servers that speak OpenAI's completions: how many tokens a second they get, all together."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

PROMPT = "Add the numbers one by one and tell each sum: " + " ".join(str(7 * i % 100) for i in range(40))


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What `clients` clients at once get of a server."""

    server: str
    clients: int
    tokens_s: float  # completion tokens a second, all together; the median of the repeats


def throughput(servers: Sequence[str], clients: Sequence[int], *, repeats: int, tokens: int) -> list[Throughput]:
    """Measures every server with every number of clients, in turns; each client has one request of `tokens` tokens.

    No prompt comes twice, so that none is in a server's cache.
    """
    numbers = count()
    rates: dict[tuple[str, int], list[float]] = {}
    with httpx.Client(timeout=600.0) as client:  # one for all: to make one takes longer than a small model's reply
        for most in clients:
            for repeat in range(repeats + 1):
                for server in servers if repeat % 2 else reversed(servers):
                    rate = _rate(client, server, [next(numbers) for _ in range(most)], tokens)
                    if repeat:  # the first one warms up
                        rates.setdefault((server, most), []).append(rate)
    return [
        Throughput(server=server, clients=most, tokens_s=statistics.median(found))
        for (server, most), found in rates.items()
    ]


def _rate(client: httpx.Client, server: str, numbers: Sequence[int], tokens: int) -> float:
    with ThreadPoolExecutor(len(numbers)) as pool:
        began = time.perf_counter()
        counts = list(pool.map(lambda number: _completed(client, server, number, tokens), numbers))
        return sum(counts) / (time.perf_counter() - began)


def _completed(client: httpx.Client, server: str, number: int, tokens: int) -> int:
    """Returns the number of tokens of one reply; the prompt begins with its number."""
    asked = {"prompt": f"{number}: {PROMPT}", "max_tokens": tokens, "temperature": 0.0}
    reply = client.post(f"{server.rstrip('/')}/v1/completions", json=asked)
    reply.raise_for_status()
    usage: dict[str, Any] = reply.json()["usage"]
    return int(usage["completion_tokens"])
