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

PROMPT = 130  # tokens, which are told by number: servers cut texts of a small vocabulary into tokens each their own way
LOWEST, TOKENS = 5, 400  # of these the prompts are made; no special ones are among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What `clients` clients at once get of a server."""

    server: str
    clients: int
    tokens_s: float  # completion tokens a second, all together; the median of the repeats
    over_first: float  # the same over the first server's in the same repeat; the median of the repeats


def throughput(servers: Sequence[str], clients: Sequence[int], *, repeats: int, tokens: int) -> list[Throughput]:
    """Measures every server with every number of clients, in turns; each client has one request of `tokens` tokens.

    No prompt comes twice, so that none is in a server's cache, and no reply ends before its last token.
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
        Throughput(
            server=server,
            clients=most,
            tokens_s=statistics.median(found),
            over_first=statistics.median(
                ours / first for ours, first in zip(found, rates[servers[0], most], strict=True)
            ),
        )
        for (server, most), found in rates.items()
    ]


def _rate(client: httpx.Client, server: str, numbers: Sequence[int], tokens: int) -> float:
    with ThreadPoolExecutor(len(numbers)) as pool:
        began = time.perf_counter()
        counts = list(pool.map(lambda number: _completed(client, server, number, tokens), numbers))
        return sum(counts) / (time.perf_counter() - began)


def _completed(client: httpx.Client, server: str, number: int, tokens: int) -> int:
    """Returns the number of tokens of one reply; each number has a prompt of its own."""
    prompt = [LOWEST + (7919 * number + 31 * at * at + at) % TOKENS for at in range(PROMPT)]
    asked = {"prompt": prompt, "max_tokens": tokens, "temperature": 0.0, "ignore_eos": True}
    reply = client.post(f"{server.rstrip('/')}/v1/completions", json=asked)
    reply.raise_for_status()
    usage: dict[str, Any] = reply.json()["usage"]
    return int(usage["completion_tokens"])
