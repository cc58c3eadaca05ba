"""A discrete-event simulation of decoding, the reference for the plant: it counts every token and cached token."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.profile.plant import StepTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The simulated requests' figures, without the first tenth of the requests."""

    latency: npt.NDArray[np.float64]  # s, per request
    tokens: npt.NDArray[np.int64]
    throughput: float  # requests/s

    @property
    def in_system(self) -> float:
        return float(self.throughput * self.latency.mean())


def simulate(
    *,
    step_time: StepTime,
    max_batch: int,
    arrivals: npt.NDArray[np.float64],
    tokens: npt.NDArray[np.int64],
    prompt: int = 0,
    rank: npt.NDArray[np.float64] | None = None,
) -> Measured:
    """Simulates requests: up to `max_batch` of them decode one token each per step.

    Of those that wait the one with the lowest `rank` is next, of two alike the first; None: first come, first served.
    Arrivals join between steps. k steps with an unchanged batch of b sequences and S cached tokens in all take
    k·(a + c·b + g·S) + g·b·k(k−1)/2.
    """
    a, c, g = step_time.a, step_time.c, step_time.g
    done = np.zeros(len(arrivals))
    ranks = [0.0] * len(arrivals) if rank is None else rank.tolist()
    queue: list[tuple[float, int]] = []
    running: list[tuple[int, int]] = []  # step of the request's last token, request
    step, now, cached, coming = 0, 0.0, 0.0, 0
    while coming < len(arrivals) or running or queue:
        while coming < len(arrivals) and arrivals[coming] <= now:
            heapq.heappush(queue, (ranks[coming], coming))
            coming += 1
        while queue and len(running) < max_batch:
            _, request = heapq.heappop(queue)
            heapq.heappush(running, (step + int(tokens[request]), request))
            cached += prompt
        if not running:
            now = arrivals[coming]
            continue
        b = len(running)
        first, curve = a + c * b + g * cached, g * b / 2.0
        steps = running[0][0] - step
        if coming < len(arrivals) and b < max_batch:  # up to the step in which the next request arrives
            gap = arrivals[coming] - now
            linear = first - curve
            until = gap / linear if curve == 0.0 else (math.sqrt(linear**2 + 4 * curve * gap) - linear) / (2 * curve)
            steps = min(steps, max(1, math.ceil(until)))
        now += steps * first + curve * steps * (steps - 1)
        cached += b * steps
        step += steps
        while running and running[0][0] == step:
            _, request = heapq.heappop(running)
            done[request] = now
            cached -= prompt + int(tokens[request])
    start = len(arrivals) // 10
    return Measured(
        latency=(done - arrivals)[start:],
        tokens=tokens[start:],
        throughput=(len(arrivals) - start - 1) / float(arrivals[-1] - arrivals[start]),
    )
