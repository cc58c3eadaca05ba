"""Compares the simulator with requests timed on vLLM: the machine is fitted on every second, tested on the rest.

Only the first and last token of each request are timed. Between them the request took part in as many passes as it has
tokens, so the mean pass time is modelled by the mean number of requests running meanwhile, their cached tokens and the
prompts computed: τ = a + b·n + c·ΣKV + d·prompt tokens.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from benchmarks.support import report
from engine.base import Finished, ProbeSpec, Request, SequenceId, Tokens
from engine.simulated.engine import SimulatedEngine
from engine.simulated.machine import Machine, VirtualClock
from engine.simulated.model import Course, CourseRules, TrialAnswer
from models.profile.plant import StepTime

Array = npt.NDArray[np.float64]

KEYS = ("input_toks", "output_toks", "queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VllmRequests:
    """Timed requests, arrays [request] in order of arrival; times in s since the first arrival."""

    prompt: Array  # tokens
    output: Array  # tokens
    arrived: Array
    scheduled: Array
    first: Array
    last: Array


def read(path: Path) -> VllmRequests:
    """Reads timed requests from JSON Lines. Raises SystemExit, naming line and key, if a key is missing."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            said = json.loads(line)
            if missing := [key for key in KEYS if key not in said]:
                raise SystemExit(f"{path}:{number}: has no {missing[0]!r}")
            rows.append([float(said[key]) for key in KEYS])
    table = np.array(sorted(rows, key=lambda row: row[2]))
    times = table[:, 2:] - table[0, 2]
    return VllmRequests(
        prompt=table[:, 0],
        output=table[:, 1],
        arrived=times[:, 0],
        scheduled=times[:, 1],
        first=times[:, 2],
        last=times[:, 3],
    )


def fitted(
    timed: VllmRequests,
    chosen: npt.NDArray[np.bool_],
    *,
    cells: int,
    chunk: int,
    max_batch: int,
    least_a: float = 0.0,
    least_g: float = 0.0,
) -> Machine:
    """Returns the machine that fits the `chosen` requests' mean pass times best, no coefficient below 0.

    `least_a`, s, and `least_g`, s per cached token, are lower bounds: the GPU's times to read weights and cache.
    """
    grid = np.linspace(0.0, timed.last.max(), 4000)
    running = (timed.first <= grid[:, None]) & (grid[:, None] < timed.last)  # [time, request]
    share = np.clip((grid[:, None] - timed.first) / np.maximum(timed.last - timed.first, 1e-9), 0.0, 1.0)
    cached = (running * (timed.prompt + share * timed.output)).sum(axis=1)
    number = running.sum(axis=1)
    rows, seconds = [], []
    for r in np.flatnonzero(chosen):
        during = (grid >= timed.first[r]) & (grid <= timed.last[r])
        passes = timed.output[r] - 1.0
        if during.sum() < 2 or passes < 1:
            continue
        prompts = timed.prompt[(timed.first > timed.first[r]) & (timed.first <= timed.last[r])].sum()
        rows.append([1.0, number[during].mean(), cached[during].mean(), prompts / passes])
        seconds.append((timed.last[r] - timed.first[r]) / passes)
    table, took = np.array(rows), np.array(seconds)
    scale = table.max(axis=0)
    least = np.array([least_a, 0.0, least_g, 0.0])
    a, b, c, d = nnls(table / scale, took - table @ least)[0] / scale + least
    return Machine(
        step_time=StepTime(a=float(a), c=float(b), g=float(c)),
        prefill_s=float(d),
        max_batch=max_batch,
        cells=cells,
        prefill_chunk=chunk,
    )


@dataclass(frozen=True, slots=True)
class LengthsModel:
    """A model of which only the replies' lengths are known."""

    max_tokens: int = 1 << 30
    vocabulary: int = 1

    def follow(self, prompt: tuple[int, ...], said: Sequence[int], rules: CourseRules) -> Course:
        return Course(tokens=(0,) * rules.most, looks=(1,))

    def answer(self, prompt: tuple[int, ...], said: Sequence[int], spec: ProbeSpec) -> TrialAnswer:
        raise AssertionError("nobody probes here")


def simulated(timed: VllmRequests, machine: Machine) -> tuple[Array, Array]:
    """Simulates the requests; returns the times of each one's first and last token, s."""
    clock = VirtualClock()
    engine = SimulatedEngine(LengthsModel(), machine, clock)
    first, last = np.full(len(timed.prompt), np.nan), np.full(len(timed.prompt), np.nan)
    names: dict[SequenceId, int] = {}
    coming = 0
    while coming < len(first) or names:
        if not names:
            clock.skip(timed.arrived[coming])
        while coming < len(first) and timed.arrived[coming] <= clock.now:
            request = Request(prompt=(0,) * int(timed.prompt[coming]), max_new_tokens=int(timed.output[coming]))
            names[engine.submit(request)] = coming
            coming += 1
        clock.alarm = timed.arrived[coming] if coming < len(first) else math.inf
        for event in engine.step():
            if isinstance(event, Tokens) and np.isnan(first[names[event.sequence]]):
                first[names[event.sequence]] = clock.now
            elif isinstance(event, Finished):
                last[names.pop(event.sequence)] = clock.now
    return first, last


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmComparison:
    """Times of requests, s, as (served, simulated)."""

    name: str
    mean: tuple[float, float]
    p95: tuple[float, float]

    def __str__(self) -> str:
        parts = (f"{real:>12.2f} s{ours:>10.2f} s{ours / real - 1.0:>+8.1%}" for real, ours in (self.mean, self.p95))
        return f"{self.name:<12}" + "".join(parts)


def compared(name: str, real: Array, ours: Array) -> VllmComparison:
    """Compares means and 95th percentiles."""
    return VllmComparison(
        name=name,
        mean=(float(real.mean()), float(ours.mean())),
        p95=(float(np.percentile(real, 95)), float(np.percentile(ours, 95))),
    )


def main() -> None:
    """Prints served and simulated times of the requests that the fit has not seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", type=Path, help="JSON Lines: tokens and times of requests")
    parser.add_argument("--cells", type=int, default=41_408, help="tokens of KV cache")
    parser.add_argument("--chunk", type=int, default=2048, help="prompt tokens in a pass")
    parser.add_argument("--max-batch", type=int, default=256)
    parser.add_argument("--least-ms", type=float, default=0.0, help="what reading the weights takes, ms a step")
    parser.add_argument("--least-ns", type=float, default=0.0, help="what reading the cache takes, ns a cached token")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ran = report.circumstances("benchmarks.vllm", 0)
    timed = read(options.requests)
    seen = np.arange(len(timed.prompt)) % 2 == 0
    machine = fitted(
        timed,
        seen,
        cells=options.cells,
        chunk=options.chunk,
        max_batch=options.max_batch,
        least_a=1e-3 * options.least_ms,
        least_g=1e-9 * options.least_ns,
    )
    step = machine.step_time
    print(
        f"Fitted on {seen.sum()} requests: {1e3 * step.a:.2f} ms + {1e6 * step.c:.0f} us per sequence + "
        f"{1e9 * step.g:.0f} ns per cached token + {1e6 * machine.prefill_s:.0f} us per prompt token"
    )
    # vLLM allocates cells as tokens come: on average a running request holds half of its output
    whole, held = (timed.prompt + timed.output).sum(), (timed.prompt + timed.output / 2).sum()
    found = {}
    for name, cells in (
        ("cells reserved to the last token, as here", options.cells),
        ("cells given out as tokens come, as vLLM does", round(options.cells * whole / held)),
    ):
        first, last = simulated(timed, replace(machine, cells=cells))
        found[name] = (
            compared("latency", (timed.last - timed.arrived)[~seen], (last - timed.arrived)[~seen]),
            compared("first token", (timed.first - timed.arrived)[~seen], (first - timed.arrived)[~seen]),
            compared("decoding", (timed.last - timed.first)[~seen], (last - first)[~seen]),
        )
        titles = "".join(f"{f'{value}: served':>14}{'simulated':>12}{'error':>8}" for value in ("mean", "p95"))
        print(f"\n{name}\n{'':<12}{titles}")
        for one in found[name]:
            print(one)
    if options.out is not None:
        results = {name: [asdict(one) for one in rows] for name, rows in found.items()}
        report.write(options.out, ran, {"machine": asdict(machine), "compared": results})


if __name__ == "__main__":
    main()
