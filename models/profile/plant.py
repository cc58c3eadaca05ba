"""The plant: how long requests take when they are decoded together.

A decode step with b sequences takes τ(b) = a + (c + g·K)·b seconds, K the mean cached tokens of a sequence. So n
requests in the system are served at R(n) = min(n, b_max)/τ(min(n, b_max)) tokens/s, and with a token demand D
(tokens/s: arrival rate times tokens a request) their number is a birth-death chain π_n ∝ Dⁿ / ΠR(k). Its queued part
is scaled by (1 + cv²)/2, since lengths are not exponential; cv is the coefficient of variation of a request's tokens.
By Little's law, N(D) requests in the system at Λ requests/s stay N(D)/Λ seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.files.checks import at_least, not_negative

Array = npt.NDArray[np.float64]


def mean_context(prompt_tokens: npt.ArrayLike, reply_tokens: npt.ArrayLike) -> float:
    """Mean cached tokens K of a sequence, over the decode steps of requests with these prompts and replies.

    Raises ValueError if the replies have no tokens.
    """
    prompt, reply = np.asarray(prompt_tokens, dtype=np.float64), np.asarray(reply_tokens, dtype=np.float64)
    if not reply.size or not np.sum(reply) > 0.0:
        raise ValueError(f"replies have {np.sum(reply):g} tokens together, must be above 0")
    return float(np.sum(prompt * reply + reply**2 / 2.0) / np.sum(reply))


def prompt_tokens(context: float, counts: Sequence[int], tokens: npt.ArrayLike, square: npt.ArrayLike) -> float:
    """Returns the mean prompt tokens: what the mean cached tokens of full thoughts leave beside those of the thoughts.

    `context`: mean cached tokens of a sequence over full thoughts, Σ(p·W + W²/2)/ΣW. `counts`: questions by class;
    tables are [class, threshold, budget], of token rows and their squares.
    """
    full = np.asarray(counts, dtype=np.float64)
    rows, squared = (np.asarray(table, dtype=np.float64)[:, 0, 0] for table in (tokens, square))
    return max(0.0, context - float(full @ squared / (2.0 * full @ rows)))


def squares(tokens: Array, square: Array, places: Sequence[tuple[int, int, int]], at: Array) -> Array:
    """Returns the mean squared token rows [class, point] at places of a curve, a threshold and a budget.

    `at`: mean token rows [class, point] there. With a lower curve, the spread is taken to be that without one.
    """
    spread = np.stack([square[:, i, j] / tokens[:, i, j] ** 2 for _, i, j in places], axis=1)
    return np.asarray(at**2 * spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds that a decode step takes: a + (c + g·context)·batch."""

    a: float  # s, whatever the batch
    c: float  # s per sequence
    g: float = 0.0  # s per cached token and sequence

    def __post_init__(self) -> None:
        for name in ("a", "c", "g"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} is {value} s, must be finite and at least 0")
        if self.a + self.c <= 0.0:
            raise ValueError(f"a + c is {self.a + self.c} s, must be above 0: no step takes no time")

    def seconds(self, batch: float, context: float = 0.0) -> float:
        """The step's time with `batch` sequences of `context` cached tokens each."""
        return self.a + (self.c + self.g * context) * batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """Mean numbers of requests at a token demand; `queued` is scaled for the spread of lengths."""

    serving: float
    queued: float

    @property
    def total(self) -> float:
        return self.serving + self.queued


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Tangents of N(D): slope·D + intercept never exceeds N(D), and their maximum is close to it up to `max_demand`."""

    slope: Array  # s: requests in the system per token/s
    intercept: Array  # requests
    max_demand: float  # tokens/s

    def highest(self, demand: float) -> float:
        """The maximum of the lines at `demand`: the estimate of N(D)."""
        return float(np.max(self.slope * demand + self.intercept))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """An engine as a queue. Demands D are in tokens/s, and below `capacity`."""

    step_time: StepTime
    max_batch: int  # sequences decoded together
    context: float = 0.0  # mean cached tokens of a sequence
    cv2: float = 1.0  # squared coefficient of variation of a request's tokens
    _rates: Array = field(init=False, repr=False, compare=False)  # R(1) … R(max_batch)

    def __post_init__(self) -> None:
        at_least(self, 1, "max_batch")
        not_negative(self, "context", "cv2")
        batch = np.arange(1, self.max_batch + 1)
        step_time = self.step_time
        object.__setattr__(self, "_rates", batch / (step_time.a + (step_time.c + step_time.g * self.context) * batch))

    @property
    def capacity(self) -> float:
        """D_max, tokens/s: what a full batch decodes."""
        return float(self._rates[-1])

    def rate(self, n: int) -> float:
        """R(n), tokens/s decoded with n requests in the system."""
        if n < 0:
            raise ValueError(f"n is {n}, must be at least 0")
        return float(self._rates[min(n, self.max_batch) - 1]) if n else 0.0

    def steps_within(self, seconds: float, n: int, tokens: float) -> float:
        """Decode steps that the last of `n` requests in the system gets within `seconds`.

        The request first waits until the requests that exceed `max_batch`, of `tokens` tokens each, are decoded at
        `capacity`; then it runs in a batch of min(n, max_batch). This is the planner's clock: it is about any n, to
        choose points that keep an SLO. What a queued client is told comes from `controller.serving.pace.Pace`.
        """
        waiting = max(0, n - self.max_batch) * tokens / self.capacity
        return max(0.0, seconds - waiting) * self.rate(max(n, 1)) / min(max(n, 1), self.max_batch)

    def occupancy(self, demand: float) -> Occupancy:
        """Mean numbers served and waiting at a token demand."""
        head, tail = self._chain(demand)
        rho = demand / self.capacity
        served = np.arange(self.max_batch) @ head + self.max_batch * tail
        waiting = tail * rho / (1.0 - rho)  # the tail is geometric: π_{b+j} = π_b ρʲ
        return Occupancy(serving=float(served), queued=float(self._stretch * waiting))

    def in_system(self, demand: float) -> float:
        """N(D), the mean number of requests in the system; convex in D."""
        return self.occupancy(demand).total

    def slope(self, demand: float) -> float:
        """dN/dD, s: what one more token/s of demand adds to N."""
        return float(self.curve([demand])[1][0])

    def curve(self, demands: npt.ArrayLike) -> tuple[Array, Array]:
        """N(D) and dN/dD, s, at each of `demands`."""
        demand = np.asarray(demands, dtype=np.float64)
        # π_n ∝ Dⁿ, so d E[f(n)]/dD = Cov(f(n), n)/D.
        head, tail = self._chains(demand)
        rho, b = demand / self.capacity, float(self.max_batch)
        below = np.arange(self.max_batch)
        j1 = rho / (1.0 - rho)  # E[j], E[j²] of the tail's geometric j = n − b
        j2 = rho * (1.0 + rho) / (1.0 - rho) ** 2
        mean_n = head @ below + tail * (b + j1)
        mean_f = head @ below + tail * (b + self._stretch * j1)
        mean_fn = head @ below**2 + tail * (b * b + (1.0 + self._stretch) * b * j1 + self._stretch * j2)
        none = demand == 0.0
        slope = (mean_fn - mean_f * mean_n) / np.where(none, 1.0, demand)
        return mean_f, np.where(none, 1.0 / self.rate(1), slope)

    def latency(self, demand: float, rate: float) -> float:
        """Mean seconds of a request from arrival to end, when `rate` requests/s make up `demand`."""
        if not rate > 0.0:
            raise ValueError(f"rate is {rate} requests/s, must be above 0")
        return self.in_system(demand) / rate

    def effective_step(self, demand: float) -> float:
        """Mean seconds that a running request waits for its next token."""
        if demand == 0.0:
            return 1.0 / self.rate(1)
        return self.occupancy(demand).serving / demand

    def attainment(self, demand: float, rate: float, tokens: npt.ArrayLike, slo: npt.ArrayLike) -> float:
        """Share of requests that end within `slo` seconds; `tokens` holds the tokens of each request of a sample.

        A request takes tokens · effective step. Before that it waits: an exponential time if the batch is full, else
        not at all.
        """
        left = np.asarray(slo, dtype=np.float64) - np.asarray(tokens, dtype=np.float64) * self.effective_step(demand)
        return float(np.mean(self._waits_at_most(left, demand, rate)))

    def latency_quantile(self, demand: float, rate: float, tokens: npt.ArrayLike, share: float = 0.95) -> float:
        """Seconds within which `share` of the requests end; `tokens` holds the tokens of each request of a sample.

        The result is too low where the pace varies during a request: at high load, if steps grow fast with the batch.
        """
        if not 0.0 < share < 1.0:
            raise ValueError(f"share is {share}, must be above 0 and below 1")
        busy = np.asarray(tokens, dtype=np.float64) * self.effective_step(demand)
        low, high = 0.0, float(np.max(busy))
        while np.mean(self._waits_at_most(high - busy, demand, rate)) < share:
            low, high = high, 2.0 * high
        while high - low > 1e-6 * high:
            middle = (low + high) / 2.0
            enough = np.mean(self._waits_at_most(middle - busy, demand, rate)) >= share
            low, high = (low, middle) if enough else (middle, high)
        return high

    def lines(self, *, count: int = 24, max_load: float = 0.97) -> Lines:
        """Tangents of N(D) for 0 ≤ D ≤ max_load·capacity, spaced for an equal relative error.

        Two tangents h apart miss N by N″h²/8 at worst, so their density goes with √(N″/N).
        """
        if count < 2:
            raise ValueError(f"count is {count}, must be at least 2")
        if not 0.0 < max_load < 1.0:
            raise ValueError(f"max_load is {max_load}, must be above 0 and below 1")
        grid = self.capacity * max_load * np.linspace(0.0, 1.0, 501)[1:] ** 0.75  # finer where N bends most
        values, slopes = self.curve(grid)
        bend = np.maximum(np.diff(slopes), 0.0) / np.diff(grid)
        middle = (grid[1:] + grid[:-1]) / 2.0
        density = np.sqrt(bend / np.interp(middle, grid, values))
        measure = np.concatenate(([0.0], np.cumsum(density * np.diff(grid))))
        if measure[-1] == 0.0:  # N is straight
            touch = np.linspace(grid[0], grid[-1], count - 1)
        else:
            touch = np.interp((np.arange(count - 1) + 0.5) / (count - 1) * measure[-1], measure, grid)
        touch = np.concatenate(([0.0], touch))
        value, slope = self.curve(touch)
        return Lines(slope=slope, intercept=np.minimum(value - slope * touch, 0.0), max_demand=float(grid[-1]))

    @property
    def _stretch(self) -> float:
        """Waiting time with these lengths, divided by that with exponential lengths (Pollaczek-Khinchine)."""
        return (1.0 + self.cv2) / 2.0

    def _waits_at_most(self, seconds: Array, demand: float, rate: float) -> Array:
        """P(wait ≤ seconds)."""
        if demand == 0.0:
            return np.where(seconds >= 0.0, 1.0, 0.0)
        if not rate > 0.0:
            raise ValueError(f"rate is {rate} requests/s, must be above 0")
        full = self._chain(demand)[1]  # P(an arrival finds the batch full): Poisson arrivals see time averages
        mean = self.occupancy(demand).queued / rate / full if full > 0.0 else 0.0
        late = full * np.exp(-np.maximum(seconds, 0.0) / mean) if mean > 0.0 else 0.0
        return np.where(seconds >= 0.0, 1.0 - late, 0.0)

    def _chain(self, demand: float) -> tuple[Array, float]:
        """π_0 … π_{b−1}, and the probability that the batch is full."""
        head, tail = self._chains(np.array([demand]))
        return head[0], float(tail[0])

    def _chains(self, demand: Array) -> tuple[Array, Array]:
        """The same for several demands: [demand, n], and [demand]."""
        if not ((demand >= 0.0) & (demand < self.capacity)).all():
            wrong = demand[~((demand >= 0.0) & (demand < self.capacity))][0]
            raise ValueError(
                f"demand is {wrong} tokens/s, must be at least 0 and below the capacity {self.capacity:.6g}"
            )
        some = np.where(demand > 0.0, demand, 1.0)
        steps = np.cumsum(np.log(some)[:, None] - np.log(self._rates), axis=1)
        log = np.hstack([np.zeros((len(demand), 1)), np.where(demand[:, None] > 0.0, steps, -np.inf)])
        weight = np.exp(log - log.max(axis=1, keepdims=True))
        weight[:, -1] /= 1.0 - demand / self.capacity
        weight /= weight.sum(axis=1, keepdims=True)
        return weight[:, :-1], weight[:, -1]
