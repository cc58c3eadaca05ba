"""Sends a server several times its capacity: what becomes of accepted requests, and is Retry-After true?

The capacity is measured first, by as many closed-loop clients as the batch has places. Then requests arrive as a
Poisson process at a multiple of the capacity. A refusal's Retry-After predicts when the requests before it will have
started; the prediction is compared with when they did.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.support import report
from experiments.evaluation.questions import bundled_questions
from experiments.question import Question
from laser.cli.terminal.demo_traffic import MAX_TOKENS
from laser.server_process import serving

FACTOR = 2.0  # a Retry-After counts as true within this factor of the actual wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A request that was accepted."""

    at_s: float  # when the request was sent
    began_s: float
    ended_s: float
    status: int
    tokens: int
    text: bool  # whether the answer has text


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request that was turned away."""

    at_s: float
    retry_after_s: float


async def ask(client: httpx.AsyncClient, question: Question, began: float) -> Answered | Refused:
    """Sends one question; times count from `began`."""
    at_s = time.monotonic() - began
    body = {"messages": [{"role": "user", "content": question.text}], "max_tokens": MAX_TOKENS}
    response = await client.post("/v1/chat/completions", json=body)
    if response.status_code == 429:
        return Refused(at_s=at_s, retry_after_s=int(response.headers["retry-after-ms"]) / 1e3)
    reply = response.json() if response.status_code == 200 else {}
    return Answered(
        at_s=at_s,
        began_s=at_s + reply.get("laser", {}).get("queue_ms", 0.0) / 1e3,
        ended_s=time.monotonic() - began,
        status=response.status_code,
        tokens=reply.get("usage", {}).get("completion_tokens", 0),
        text=bool(reply and reply["choices"][0]["message"]["content"]),
    )


async def capacity(client: httpx.AsyncClient, questions: Sequence[Question], clients: int, seconds: float) -> float:
    """Returns the requests/s of `clients` clients that ask one question after the other; a third is the warm-up."""
    began, ended = time.monotonic(), 0

    async def keep_asking(place: int) -> None:
        nonlocal ended
        while time.monotonic() - began < seconds:
            await ask(client, questions[place % len(questions)], began)
            place += clients
            ended += seconds / 3 < time.monotonic() - began < seconds

    await asyncio.gather(*(keep_asking(place) for place in range(clients)))
    return ended / (seconds * 2 / 3)


async def overload(
    client: httpx.AsyncClient, questions: Sequence[Question], rate: float, seconds: float, rng: np.random.Generator
) -> list[Answered | Refused]:
    """Sends questions as a Poisson process, open loop; returns what became of each."""
    times = np.cumsum(rng.exponential(1.0 / rate, size=int(2 * rate * seconds) + 10))
    began = time.monotonic()

    async def later(at_s: float, question: Question) -> Answered | Refused:
        await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
        return await ask(client, question, began)

    picked = rng.integers(len(questions), size=len(times))
    due = [(float(at), questions[int(place)]) for at, place in zip(times, picked, strict=True) if at < seconds]
    return await asyncio.gather(*(later(at, question) for at, question in due))


def summary(seen: Sequence[Answered | Refused], slo_s: float) -> dict[str, Any]:
    """Summarises losses, latency and how true Retry-After was."""
    answered = [one for one in seen if isinstance(one, Answered)]
    refused = [one for one in seen if isinstance(one, Refused)]
    good = [one for one in answered if one.status == 200 and one.text]
    latency = [one.ended_s - one.at_s for one in good]
    ratios = [one.retry_after_s / max(drained, 1e-3) for one in refused if (drained := drain_s(one, good)) is not None]
    true = [1 / FACTOR <= each <= FACTOR for each in ratios]
    p95 = float(np.percentile(latency, 95)) if latency else None
    return {
        "offered": len(seen),
        "accepted": len(answered),
        "lost": len(answered) - len(good),
        "turned_away": len(refused),
        "p50_s": float(np.median(latency)) if latency else None,
        "p95_s": p95,
        "slo_s": slo_s,
        "p95_within_slo": p95 is not None and p95 <= slo_s,
        "tokens_a_reply": float(np.mean([one.tokens for one in good])) if good else None,
        "retry_after_told": len(ratios),
        "retry_after_within_factor_2": float(np.mean(true)) if true else None,
        "retry_after_over_truth": [float(each) for each in np.percentile(ratios, [5, 50, 95])] if ratios else None,
    }  # fmt: skip


def drain_s(refusal: Refused, accepted: Sequence[Answered]) -> float | None:
    """Returns the seconds from a refusal until all requests then waiting had started; None: none waited."""
    began = [one.began_s for one in accepted if one.at_s <= refusal.at_s < one.began_s]
    return max(began) - refusal.at_s if began else None


def main() -> None:
    """Command line: run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--model", type=Path, help="model directory (default: the bundled model)")
    parser.add_argument("--policy", default="auto", help="as of laser serve")
    parser.add_argument("--factor", type=float, default=5.0, help="of the capacity")
    parser.add_argument("--calm", type=float, default=30.0, help="s in which the capacity is measured")
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload")
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--max-waiting", type=int, default=64)
    parser.add_argument("--slo", type=float, default=30.0, help="s, of a whole reply")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    ran = report.circumstances("benchmarks.overload", options.seed)
    arguments = ["serve", "--port", "0", "--policy", options.policy]
    arguments += ["--max-batch", str(options.max_batch), "--max-waiting", str(options.max_waiting)]
    arguments += [] if options.model is None else ["--model", str(options.model)]
    rng, questions = np.random.default_rng(options.seed), bundled_questions(60, seed=options.seed)

    async def drive() -> tuple[float, list[Answered | Refused]]:
        limits = httpx.Limits(max_connections=None)
        async with (
            serving(arguments) as served,
            httpx.AsyncClient(base_url=served.url, trust_env=False, timeout=600.0, limits=limits) as client,
        ):
            rate = await capacity(client, questions, options.max_batch, options.calm)
            print(f"capacity: {rate:.2f} requests/s; now {options.factor * rate:.2f}/s", flush=True)
            return rate, await overload(client, questions, options.factor * rate, options.seconds, rng)

    rate, seen = asyncio.run(drive())
    found = {"capacity": rate, **summary(seen, options.slo)}
    for name, value in found.items():
        print(f"{name}: {value}")
    if options.out is not None:
        report.write(options.out, ran, {"summary": found, "seen": [asdict(one) for one in seen]})


if __name__ == "__main__":
    main()
