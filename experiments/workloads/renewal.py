"""Renewal processes: arrivals with independent, identically distributed gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.workloads.workload import Times, check, check_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson:
    """Poisson arrivals: every arrival is independent of the others."""

    kind: ClassVar[str] = "poisson"

    rate: float  # requests/s

    def __post_init__(self) -> None:
        check("rate", self.rate, above=0.0)

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        check_duration(duration_s, self.rate)
        return np.sort(rng.uniform(0.0, duration_s, rng.poisson(self.rate * duration_s)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Gamma-distributed gaps: bursty if their coefficient of variation `cv` is above 1, more regular if below."""

    kind: ClassVar[str] = "gamma"

    rate: float  # requests/s
    cv: float  # coefficient of variation of the gaps; above 1: bursty, below 1: regular

    def __post_init__(self) -> None:
        check("rate", self.rate, above=0.0)
        check("cv", self.cv, above=0.0)

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        check_duration(duration_s, self.rate)
        return gamma_renewals(duration_s * self.rate, self.cv, rng) / self.rate


def gamma_renewals(length: float, cv: float, rng: np.random.Generator) -> Times:
    """Returns renewals in [0, length) with gaps of mean 1, stationary: one is expected in every unit of time.

    The gap that contains 0 is drawn with a probability proportional to its length, so it is Γ(k + 1) where gaps are
    Γ(k), and 0 is uniform in it.
    """
    shape = cv**-2
    first = rng.uniform() * rng.gamma(shape + 1.0) / shape
    parts, end = [np.array([first])], first
    while end < length:
        gaps = rng.gamma(shape, 1.0 / shape, size=1 + int((length - end) * 1.1))
        parts.append(end + np.cumsum(gaps))
        end = float(parts[-1][-1])
    times = np.concatenate(parts)
    return times[times < length]
