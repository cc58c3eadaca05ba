"""What the controller is to achieve, in correct answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

# Of waiting, and of thresholds' way, while a model thinks to its end with the engine to itself.
WAIT_WORTH = 0.025  # correct answers that one user's waiting for as long is worth
THRESHOLD_WAY = 0.6  # confidence that a class's mean threshold may move meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSettings:
    """What is wanted, in correct answers; the penalties are for what can't always be had.

    What is None depends on how long the model's replies take: a second is much to those who wait for two, and little
    to those who wait for minutes.
    """

    latency_weight: float | None = None  # w: correct answers that one second of one user's waiting is worth
    shed_penalty: float = 1.0  # π: wrong answers that turning a request away is as bad as
    max_load: float = 0.95  # ρ_max, of the plant's capacity
    accuracy_floors: tuple[float, ...] = ()  # by class, in the profile's order; empty: none
    slo_s: tuple[float, ...] = ()  # by class: seconds within which 95 % of its requests are to end; empty: none
    stickiness: float = 1e-4  # correct answers that moving the whole mixture must gain
    threshold_rate: float | None = None  # δ: confidence that a class's mean threshold may move in a second
    min_rate: float = 0.002  # requests/s that every class is planned for at least
    capacity_penalty: float = 1000.0  # correct answers per request, for demand of a whole capacity above ρ_max
    floor_penalty: float = 10.0  # per unit of accuracy below a class's floor
    threshold_penalty: float = 1.0  # per unit of confidence moved too fast
    order_penalty: float = 0.01  # for an easier class with a budget longer by that of the longest point; 0: any order
    tangents: int = 24  # of N(D)

    def __post_init__(self) -> None:
        for name in (
            "latency_weight", "shed_penalty", "stickiness", "threshold_rate", "capacity_penalty", "floor_penalty",
            "threshold_penalty", "order_penalty",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} is {value}, must be finite and at least 0")
        if not 0.0 < self.max_load < 1.0:
            raise ValueError(f"max_load is {self.max_load}, must be above 0 and below 1")
        if not (math.isfinite(self.min_rate) and self.min_rate > 0.0):
            raise ValueError(f"min_rate is {self.min_rate} requests/s, must be finite and above 0")
        if self.tangents < 2:
            raise ValueError(f"tangents is {self.tangents}, must be at least 2")
        for floor in self.accuracy_floors:
            if not 0.0 <= floor <= 1.0:
                raise ValueError(f"accuracy_floors has {floor}, must be between 0 and 1")
        for seconds in self.slo_s:
            if not (math.isfinite(seconds) and seconds > 0.0):
                raise ValueError(f"slo_s has {seconds}, must be finite and above 0")

    def at(self, reply_s: float) -> Objective:
        """The objective for a model whose full replies take so many seconds each, alone on the engine."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.latency_weight is None:
            said["latency_weight"] = WAIT_WORTH / reply_s
        if self.threshold_rate is None:
            said["threshold_rate"] = THRESHOLD_WAY / reply_s
        return Objective(**said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective(ObjectiveSettings):
    """Wishes that leave nothing open."""

    latency_weight: float = 1e-3
    threshold_rate: float = 0.01
