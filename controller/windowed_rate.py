"""The arrival rate without a filter, to compare with: arrivals of the last seconds over those seconds."""

from __future__ import annotations

import math
from collections import deque


class WindowedRate:
    """The mean rate λ over a window, requests/s; what lies before the first count is taken for `initial_rate`."""

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
        """`count` requests have come in the last `dt` seconds; None: nobody counted, and nothing is learned."""
        if count is None:
            return
        self._counted.append((count, dt))
        self._count, self._seconds = self._count + count, self._seconds + dt
        while self._seconds > self._window_s and len(self._counted) > 1:
            oldest, seconds = self._counted.popleft()
            gone = min(1.0, (self._seconds - self._window_s) / seconds)  # of what has left the window in part
            self._count, self._seconds = self._count - gone * oldest, self._seconds - gone * seconds
            if gone < 1.0:
                self._counted.appendleft(((1.0 - gone) * oldest, (1.0 - gone) * seconds))
                return
