"""A signal of a user's own, in one file: met by any whole trial answer that is at least half as sure as its level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from controller.serving.signals.base import Asks
from engine.base import Probed


@dataclass(frozen=True, slots=True)
class HalfSure:
    """Met by a whole trial answer whose confidence is at least half of `level`."""

    level: float
    reason: ClassVar[str] = "half sure"
    asks: ClassVar[Asks] = Asks.TRIAL_ANSWER
    read: ClassVar[frozenset[str]] = frozenset()
    give_up_below: ClassVar[float] = 0.0

    def closes(self, probes: Sequence[Probed]) -> bool:
        return not probes[-1].gave_up and 2.0 * probes[-1].confidence >= self.level
