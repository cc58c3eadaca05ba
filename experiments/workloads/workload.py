"""What a workload is: arrival times, drawn from a generator."""

from __future__ import annotations

import math
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Times: TypeAlias = npt.NDArray[np.float64]

MOST = 10_000_000  # arrivals in one draw: a rate in the wrong unit is told before it fills the memory


class WorkloadError(ValueError):
    """A workload that cannot be, or a file that is none; the message names the value and the limit."""


class Workload(Protocol):
    """When requests arrive. The same generator state gives the same times."""

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Arrival times in [0, duration_s), s, sorted. Raises WorkloadError."""


def check(name: str, value: float, *, above: float | None = None, least: float | None = None) -> None:
    """Raise WorkloadError unless the value is finite and above the one limit, or at least the other."""
    if not math.isfinite(value) or (above is not None and value <= above) or (least is not None and value < least):
        limit = f"above {above:g}" if above is not None else f"at least {least:g}"
        raise WorkloadError(f"{name} is {value}, must be finite and {limit}")


def check_duration(duration_s: float, rate: float) -> None:
    """Raise WorkloadError unless a draw at this rate (requests/s) is of a sensible size."""
    check("duration_s", duration_s, above=0.0)
    if duration_s * rate > MOST:
        raise WorkloadError(
            f"{duration_s:g} s at up to {rate:g} requests/s bring {duration_s * rate:.3g} arrivals, must be at most "
            f"{MOST}"
        )
