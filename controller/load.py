"""The load that the optimiser plans for: arrival rate, mix of difficulty classes, and length of requests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Load:
    """Arrivals, by difficulty class in the profile's order."""

    rate: float  # requests/s, all classes together
    mix: Array  # share of each class
    work_ratio: Array  # κ: actual over profiled tokens of each class

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate >= 0.0):
            raise ValueError(f"rate is {self.rate} requests/s, must be finite and at least 0")
        for name in ("mix", "work_ratio"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or not np.all(np.isfinite(values)) or values.min(initial=0.0) < 0.0:
                raise ValueError(f"{name} is {values.tolist()}, must be one finite number of at least 0 for each class")
            object.__setattr__(self, name, values)
        if self.work_ratio.min(initial=1.0) <= 0.0:
            raise ValueError(f"work_ratio has {self.work_ratio.min()}, must be above 0")
        if len(self.mix) != len(self.work_ratio):
            raise ValueError(f"mix has {len(self.mix)} classes and work_ratio {len(self.work_ratio)}, must be as many")
        if not math.isclose(self.mix.sum(), 1.0, abs_tol=1e-6):
            raise ValueError(f"mix sums to {self.mix.sum():.6g}, must be 1")

    @property
    def rates(self) -> Array:
        """λ_d, requests/s of each class."""
        return self.rate * self.mix
