"""The workload protocol: arrival times, drawn from a random generator."""

from __future__ import annotations

import math
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from models.errors import LaserError
from models.files.checks import SMALLEST

Times: TypeAlias = npt.NDArray[np.float64]

MOST = 10_000_000  # arrivals in one draw: rejects a rate in the wrong unit before it fills the memory


class WorkloadError(LaserError, ValueError):
    """A workload's parameter or file is invalid; the message names the value and the limit."""


class Workload(Protocol):
    """Generates arrival times; the same generator state gives the same times."""

    def arrivals(self, duration_s: float, rng: np.random.Generator) -> Times:
        """Returns sorted arrival times in [0, duration_s), s. Raises WorkloadError if draw or file is invalid."""


def check(name: str, value: float, *, above: float | None = None, least: float | None = None) -> None:
    """Raises WorkloadError unless the value is finite, above `above` and at least `least`; None: no such limit."""
    if not math.isfinite(value) or (above is not None and value <= above) or (least is not None and value < least):
        limit = f"above {above:g}" if above is not None else f"at least {least:g}"
        raise WorkloadError(f"{name} is {value}, must be finite and {limit}")
    if above == 0.0 and value < SMALLEST:
        raise WorkloadError(f"{name} is {value}, must be at least {SMALLEST:g}")


def check_duration(duration_s: float, rate: float) -> None:
    """Raises WorkloadError unless the duration is above 0 and `rate`, requests/s, brings at most MOST arrivals."""
    check("duration_s", duration_s, above=0.0)
    if duration_s * rate > MOST:
        raise WorkloadError(
            f"{duration_s:g} s at up to {rate:g} requests/s bring {duration_s * rate:.3g} arrivals, must be at most "
            f"{MOST}"
        )
