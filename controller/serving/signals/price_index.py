"""Price: going on is worth no more than a token row costs now, by the index of the last trial answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from controller.serving.request import ExitReason
from controller.serving.signals.base import Asks
from engine.base import Probed
from models.profile.levers.index import IndexLimit


@dataclass(frozen=True, slots=True)
class PricePassed:
    """Met by a trial answer whose index is at most the price in force: of a thought of this length, by its bar.

    The index depends on the thought's length, so each place of a thought has a signal of its own.
    """

    limit: IndexLimit
    tokens: int  # of the thought before the probe
    reason: ClassVar[str] = ExitReason.PRICE
    asks: ClassVar[Asks] = Asks.TRIAL_ANSWER
    read: ClassVar[frozenset[str]] = frozenset()

    @property
    def give_up_below(self) -> float:
        return self.limit.worth_below(self.tokens)

    def closes(self, probes: Sequence[Probed]) -> bool:
        return not probes[-1].gave_up and self.limit.closes(self.tokens, probes[-1].confidence)
