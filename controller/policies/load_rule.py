"""A baseline rule: the threshold falls smoothly as the number of requests in the system grows.

    θ = θ_max − (θ_max − θ_min)·tanh(EMA(n)/scale),  rounded to the nearest certified threshold

The rule uses no classes, budgets or prices. Its constants are ours: rules of this shape are published without their
constants, and without the budgets by class and load that belong to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from controller.policy import Limits, QueueLengthObserver
from models.files.checks import positive


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRuleSettings:
    """The rule's constants."""

    memory_s: float = 5.0  # time constant of EMA(n): a value's weight falls to 1/e in this time
    scale: float = 16.0  # requests in the system at which tanh is at 0.76, e.g. half a full batch

    def __post_init__(self) -> None:
        positive(self, "memory_s", "scale")


class LoadRule(QueueLengthObserver):
    """A Policy and a LoadObserver."""

    def __init__(self, thresholds: Sequence[float], settings: LoadRuleSettings) -> None:
        """`thresholds`: those certified without a budget. Raises ValueError if there are none."""
        if not thresholds:
            raise ValueError("there is no certified threshold, must be at least one")
        self._thresholds = sorted(thresholds)
        self._settings = settings
        self._last: float | None = None
        self.load = 0.0  # EMA(n), requests
        self._limits = Limits(threshold=self._thresholds[-1])

    def limits(self, difficulty: str | None) -> Limits:
        """The threshold now in force, for every class."""
        return self._limits

    def tick(self, now: float, in_system: int) -> None:
        elapsed = now - self._last if self._last is not None else 0.0
        if math.isfinite(now):
            self._last = now
        if not (math.isfinite(elapsed) and elapsed >= 0.0):
            return  # the clock has jumped
        self.load += (in_system - self.load) * -math.expm1(-elapsed / self._settings.memory_s)
        lowest, highest = self._thresholds[0], self._thresholds[-1]
        wanted = highest - (highest - lowest) * math.tanh(self.load / self._settings.scale)
        nearest = min(self._thresholds, key=lambda threshold: abs(threshold - wanted))
        if nearest != self._limits.threshold:
            self._limits = Limits(threshold=nearest)
