"""The arrival rate, from counts: Kalman filters whose measurement noise is that of a Poisson count.

The rate λ is a multiplicative random walk: over Δt seconds its variance grows by (q·λ)²·Δt. A count n over Δt measures
z = n/Δt with variance R = λ/Δt. Two such filters run side by side, one with a slow q and one with a fast q, weighted by
how well each explains the counts (IMM): steady traffic is averaged over a long time, a burst is followed at once.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.files.checks import positive

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalSettings:
    """How arrival rates move, and when a count is filtered.

    `slow`, `fast` and `dwell_s` are those with the lowest error in `python -m benchmarks.arrivals`, at 0.2 and at 3
    requests/s together.
    """

    initial_rate: float = 0.2  # requests/s, believed to a factor of 2
    min_rate: float = 0.005  # requests/s; lower bound of the estimate, because traffic may always resume
    slow: float = 0.01  # q of steady traffic, 1/√s
    fast: float = 0.15  # q of a burst, 1/√s
    dwell_s: float = 1500.0  # mean time between changes from steady traffic to a burst or back
    enough_expected: float = 1.5  # a count is filtered once this number of arrivals was expected
    enough_counted: float = 3.0  # a count is filtered also once this number was counted
    longest_s: float = 8.0  # a count is filtered also once counting has lasted this long

    def __post_init__(self) -> None:
        positive(self, "initial_rate", "min_rate", "slow", "fast", "dwell_s", "longest_s")
        if self.slow > self.fast:
            raise ValueError(f"slow is {self.slow}, must be at most fast, {self.fast}")


class ArrivalRate:
    """The rate λ of one stream of requests, requests/s."""

    def __init__(self, settings: ArrivalSettings) -> None:
        from filterpy.kalman import IMMEstimator  # heavy: scipy.stats, with it

        self._settings = settings
        filters = [_level(settings.initial_rate) for _ in range(2)]
        self._imm = IMMEstimator(filters, [0.5, 0.5], _switching(0.0, settings.dwell_s))
        self._passed_s = 0.0  # since the last count was filtered
        self._counted_s = 0.0  # of these, seconds with a count
        self._count = 0.0

    @property
    def rate(self) -> float:
        """λ, requests/s."""
        return max(float(self._imm.x[0, 0]), self._settings.min_rate)

    @property
    def sigma(self) -> float:
        """Standard deviation of λ, requests/s."""
        return math.sqrt(max(float(self._imm.P[0, 0]), 0.0))

    @property
    def bursting(self) -> float:
        """Probability that the traffic is a burst: the weight of the fast filter."""
        return float(self._imm.mu[1])

    def observe(self, count: float | None, dt: float) -> None:
        """Takes the `count` of requests that arrived in the last `dt` seconds; None: they were not counted."""
        settings = self._settings
        self._passed_s += dt
        if count is not None:
            self._counted_s += dt
            self._count += count
        if self._counted_s > 0.0 and (
            self.rate * self._counted_s >= settings.enough_expected
            or self._count >= settings.enough_counted
            or self._counted_s >= settings.longest_s
        ):
            self._filter(self._count / self._counted_s)
            self._passed_s = self._counted_s = self._count = 0.0

    def _filter(self, z: float) -> None:
        settings, imm, dt = self._settings, self._imm, self._passed_s
        imm.M = _switching(dt, settings.dwell_s)
        for level, q in zip(imm.filters, (settings.slow, settings.fast), strict=True):
            level.Q = np.array([[(q * self.rate) ** 2 * dt]])
        imm.predict()
        for level in imm.filters:
            level.R = np.array([[max(float(level.x[0, 0]), settings.min_rate) / self._counted_s]])
        imm.update(np.array([[z]]))
        for level in imm.filters:
            level.x = np.maximum(level.x, settings.min_rate)


def _level(rate: float) -> Any:
    """Returns a KalmanFilter of a level."""
    from filterpy.kalman import KalmanFilter

    level = KalmanFilter(dim_x=1, dim_z=1)
    level.x, level.P = np.array([[rate]]), np.array([[rate**2]])
    level.F = level.H = np.array([[1.0]])
    return level


def _switching(dt: float, dwell_s: float) -> Array:
    """Transition probabilities between the two modes over `dt` seconds, [from, to]."""
    other = 0.5 - 0.5 * math.exp(-2.0 * dt / dwell_s)
    return np.array([[1.0 - other, other], [other, 1.0 - other]])


class WindowedRate:
    """The mean rate λ over a window, requests/s; the time before the first count counts at `initial_rate`."""

    def __init__(self, *, window_s: float, initial_rate: float, min_rate: float) -> None:
        self._window_s = window_s
        self._min_rate = min_rate
        self._counted: deque[tuple[float, float]] = deque([(initial_rate * window_s, window_s)])  # arrivals, seconds
        self._count, self._seconds = initial_rate * window_s, window_s

    @property
    def rate(self) -> float:
        """λ, requests/s."""
        return max(self._count / self._seconds, self._min_rate)

    @property
    def sigma(self) -> float:
        """Standard deviation of λ, requests/s: that of a Poisson count, √λ/T."""
        return math.sqrt(self.rate / self._seconds)

    def observe(self, count: float | None, dt: float) -> None:
        """Takes the `count` of requests that arrived in the last `dt` seconds; None: not counted, so it is ignored."""
        if count is None:
            return
        self._counted.append((count, dt))
        self._count, self._seconds = self._count + count, self._seconds + dt
        while self._seconds > self._window_s and len(self._counted) > 1:
            oldest, seconds = self._counted.popleft()
            gone = min(1.0, (self._seconds - self._window_s) / seconds)  # share of the oldest count outside the window
            self._count, self._seconds = self._count - gone * oldest, self._seconds - gone * seconds
            if gone < 1.0:
                self._counted.appendleft(((1.0 - gone) * oldest, (1.0 - gone) * seconds))
                return
