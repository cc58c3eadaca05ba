"""Consistency: trial answers in a row are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from controller.policy import Limits
from controller.serving.request import ExitReason
from controller.serving.signals.base import Asks
from engine.base import Probed


@dataclass(frozen=True, slots=True)
class Consistency:
    """Met by `agree` consecutive trial answers that are the same and not empty, however unsure they are."""

    agree: int
    reason: ClassVar[str] = ExitReason.CONSISTENCY
    asks: ClassVar[Asks] = Asks.TRIAL_ANSWER
    read: ClassVar[frozenset[str]] = frozenset()
    give_up_below: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        Limits(agree=self.agree)  # raises if invalid

    def closes(self, probes: Sequence[Probed]) -> bool:
        answer = probes[-1].answer
        if not answer or len(probes) < self.agree:
            return False
        return all(probed.answer == answer for probed in probes[-self.agree :])
