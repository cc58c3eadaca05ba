"""The controller's objective, in correct answers."""

from __future__ import annotations

from dataclasses import dataclass, fields

from models.files.checks import at_least, not_negative, outside, positive

# Per duration of a full reply (`reply_s`: thought to its natural end, alone on the engine).
WAIT_WORTH = 0.025  # correct answers that one user's waiting for one such duration costs
THRESHOLD_WAY = 0.6  # confidence by which a class's mean threshold may move in one such duration


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSettings:
    """The weights and constraints of the objective, in correct answers; penalties make hard-to-meet constraints soft.

    A field that is None is derived from the duration of the model's replies (see `at`): one second of waiting matters
    more if a reply takes two seconds than if it takes minutes.
    """

    latency_weight: float | None = None  # w: correct answers that one second of one user's waiting costs; None: derived
    shed_penalty: float = 1.0  # π: correct answers that turning a request away costs
    max_load: float = 0.95  # ρ_max: highest demand that is planned for, as a share of the plant's capacity
    # least share of right answers, by class in the profile's order; empty: none
    accuracy_floors: tuple[float, ...] = ()
    slo_s: tuple[float, ...] = ()  # seconds within which 95 % of a class's requests are to end, by class; empty: none
    stickiness: float = 1e-4  # correct answers per request that a change of the mixture must gain
    threshold_rate: float | None = None  # δ: confidence/s by which a class's mean threshold may move; None: derived
    min_rate: float = 0.002  # requests/s; every class is planned for at least this rate
    capacity_penalty: float = 1000.0  # correct answers per request, for each capacity of demand above ρ_max
    floor_penalty: float = 10.0  # correct answers per unit of accuracy below a class's floor
    threshold_penalty: float = 1.0  # correct answers per unit of confidence moved beyond the rate limit
    # correct answers per longest budget by which a class's exceeds the next harder class's; 0: any order
    order_penalty: float = 0.01
    tangents: int = 24  # number of tangents of N(D)

    def __post_init__(self) -> None:
        not_negative(
            self, "latency_weight", "shed_penalty", "stickiness", "threshold_rate", "capacity_penalty", "floor_penalty",
            "threshold_penalty", "order_penalty",
        )  # fmt: skip
        if not 0.0 < self.max_load < 1.0:
            raise ValueError(f"max_load is {self.max_load}, must be above 0 and below 1")
        positive(self, "min_rate")
        at_least(self, 2, "tangents")
        for floor in self.accuracy_floors:
            if not 0.0 <= floor <= 1.0:
                raise ValueError(f"accuracy_floors has {floor}, must be between 0 and 1")
        for seconds in self.slo_s:
            if (limit := outside(seconds)) is not None:
                raise ValueError(f"slo_s has {seconds}, must be {limit}")

    def at(self, reply_s: float) -> Objective:
        """Returns the objective for a model whose full replies take `reply_s` seconds each, alone on the engine."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.latency_weight is None:
            said["latency_weight"] = WAIT_WORTH / reply_s
        if self.threshold_rate is None:
            said["threshold_rate"] = THRESHOLD_WAY / reply_s
        return Objective(**said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective(ObjectiveSettings):
    """ObjectiveSettings in which no field is None."""

    latency_weight: float = 1e-3
    threshold_rate: float = 0.01
