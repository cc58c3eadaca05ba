"""Margin: the model would nearly close the thought itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from controller.policy import Limits
from controller.serving.request import ExitReason
from controller.serving.signals.base import Asks
from engine.base import MARGIN, Probed


@dataclass(frozen=True, slots=True)
class Margin:
    """Met where log p(the closing marker) is at most `margin` below that of the likeliest next token."""

    margin: float
    reason: ClassVar[str] = ExitReason.MARGIN
    asks: ClassVar[Asks] = Asks.NEXT_TOKEN
    read: ClassVar[frozenset[str]] = frozenset({MARGIN})
    give_up_below: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        Limits(margin=self.margin)  # raises if invalid

    def closes(self, probes: Sequence[Probed]) -> bool:
        return probes[-1].readings[MARGIN] <= self.margin
