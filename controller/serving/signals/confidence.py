"""Confidence: a trial answer is sure enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from controller.policy import Limits
from controller.serving.request import ExitReason
from controller.serving.signals.base import Asks
from engine.base import Probed


@dataclass(frozen=True, slots=True)
class Confidence:
    """Met by a trial answer whose confidence is at least `threshold`; above 1, by none."""

    threshold: float
    reason: ClassVar[str] = ExitReason.CONFIDENCE
    asks: ClassVar[Asks] = Asks.TRIAL_ANSWER
    read: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        Limits(threshold=self.threshold)  # raises if invalid

    @property
    def give_up_below(self) -> float:
        return self.threshold if self.threshold <= 1.0 else 0.0

    def closes(self, probes: Sequence[Probed]) -> bool:
        return not probes[-1].gave_up and probes[-1].confidence >= self.threshold
