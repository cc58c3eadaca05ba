"""Poisson arrivals at a rate that changes with time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.workloads.workload import Times, WorkloadError, check, check_duration


def thinned(rate_at: Callable[[Times], Times], highest: float, duration_s: float, rng: np.random.Generator) -> Times:
    """Returns Poisson arrivals at `rate_at(times)` requests/s by thinning arrivals at the rate `highest`.

    Raises WorkloadError if the draw would be too large.
    """
    check_duration(duration_s, highest)
    times = np.sort(rng.uniform(0.0, duration_s, rng.poisson(highest * duration_s)))
    return times[rng.uniform(0.0, highest, times.size) < rate_at(times)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mmpp:
    """Alternating calm and bursts of exponential length (a Markov-modulated Poisson process), stationary at time 0."""

    kind: ClassVar[str] = "mmpp"

    rate: float  # requests/s, the mean over calm and bursts
    burst: float = 5.0  # rate in a burst, as a multiple of the calm rate
    calm_s: float = 90.0  # mean length of a calm
    burst_s: float = 30.0  # mean length of a burst

    def __post_init__(self) -> None:
        check("rate", self.rate, above=0.0)
        check("burst", self.burst, least=1.0)
        check("calm_s", self.calm_s, above=0.0)
        check("burst_s", self.burst_s, above=0.0)

    def bursts(self, duration_s: float, rng: np.random.Generator) -> bool:
        """Whether the arrivals that `rng` would draw have a burst."""
        first, changes = self._changes(duration_s, rng)
        return first or changes[0] < duration_s

    def _changes(self, duration_s: float, rng: np.random.Generator) -> tuple[bool, list[float]]:
        """Returns whether a burst runs at time 0, and the times of the changes up to the one behind the end."""
        check_duration(duration_s, 1.0 / self.calm_s + 1.0 / self.burst_s)
        first = bursting = bool(rng.uniform() < self.burst_s / (self.calm_s + self.burst_s))
        changes, end = [], 0.0
        while end < duration_s:
            end += rng.exponential(self.burst_s if bursting else self.calm_s)
            changes.append(end)
            bursting = not bursting
        return first, changes

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        calm = self.rate * (self.calm_s + self.burst_s) / (self.calm_s + self.burst * self.burst_s)
        check_duration(duration_s, max(calm * self.burst, 1.0 / self.calm_s + 1.0 / self.burst_s))
        first, changes = self._changes(duration_s, rng)

        def rate_at(times: Times) -> Times:
            odd = np.searchsorted(changes, times, side="right") % 2 == 1
            return np.where(odd != first, calm * self.burst, calm)

        return thinned(rate_at, calm * self.burst, duration_s, rng)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A rate that jumps at one time, and may jump back at a later one."""

    kind: ClassVar[str] = "step"

    rate: float  # requests/s before the step
    factor: float  # by which the step multiplies the rate
    at_s: float  # time of the jump
    until_s: float | None = None  # time of the jump back; None: the rate stays

    def __post_init__(self) -> None:
        check("rate", self.rate, above=0.0)
        check("factor", self.factor, least=0.0)
        check("at_s", self.at_s, least=0.0)
        if self.until_s is not None:
            check("until_s", self.until_s, above=self.at_s)

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        until = np.inf if self.until_s is None else self.until_s
        stepped = self.rate * self.factor

        def rate_at(times: Times) -> Times:
            return np.where((times >= self.at_s) & (times < until), stepped, self.rate)

        return thinned(rate_at, max(self.rate, stepped), duration_s, rng)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diurnal:
    """A rate that varies like a day's (a cosine), lowest at the beginning of each period."""

    kind: ClassVar[str] = "diurnal"

    rate: float  # requests/s, the mean over a period
    swing: float = 0.6  # amplitude around the mean, relative to it
    period_s: float = 86_400.0  # length of a period

    def __post_init__(self) -> None:
        check("rate", self.rate, above=0.0)
        if not 0.0 <= self.swing <= 1.0:
            raise WorkloadError(f"swing is {self.swing}, must lie in [0, 1]")
        check("period_s", self.period_s, above=0.0)

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        def rate_at(times: Times) -> Times:
            return self.rate * (1.0 - self.swing * np.cos(2.0 * np.pi * times / self.period_s))

        return thinned(rate_at, self.rate * (1.0 + self.swing), duration_s, rng)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashCrowd:
    """A rate that climbs within seconds to a multiple, holds, and decays exponentially."""

    kind: ClassVar[str] = "flash-crowd"

    rate: float  # requests/s without the crowd
    peak: float  # highest rate, as a multiple of `rate`
    at_s: float  # time at which the crowd begins to arrive
    rise_s: float = 5.0  # time in which the rate climbs to its peak
    hold_s: float = 30.0  # time for which the peak lasts
    decay_s: float = 30.0  # time in which what is above `rate` decays to 1/e

    def __post_init__(self) -> None:
        check("rate", self.rate, above=0.0)
        check("peak", self.peak, least=1.0)
        check("at_s", self.at_s, least=0.0)
        for name in ("rise_s", "decay_s"):
            check(name, getattr(self, name), above=0.0)
        check("hold_s", self.hold_s, least=0.0)

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        def rate_at(times: Times) -> Times:
            since = times - self.at_s
            after = np.maximum(since - self.rise_s - self.hold_s, 0.0)
            crowd = np.clip(since / self.rise_s, 0.0, 1.0) * np.exp(-after / self.decay_s)
            return self.rate * (1.0 + (self.peak - 1.0) * crowd)

        return thinned(rate_at, self.rate * self.peak, duration_s, rng)
