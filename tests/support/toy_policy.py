"""A policy of a user's own, in one file: it leaves less of a thought the more requests there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from controller.policies.definition import Made, PolicyContext
from controller.policy import Limits, QueueLengthObserver


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """Halves the budget once there are more requests than a batch holds."""

    kind: ClassVar[str] = "halving"

    budget: int = 40  # thinking tokens
    above: float = 1.0  # batches of requests

    def make(self, context: PolicyContext) -> Made:
        policy = Halved(self.budget, self.above * context.max_batch)
        return Made(policy=policy, observer=policy)


class Halved(QueueLengthObserver):
    """A Policy and a LoadObserver."""

    def __init__(self, budget: int, above: float) -> None:
        self._budget, self._above, self._busy = budget, above, False

    def limits(self, difficulty: str | None) -> Limits:
        return Limits(budget=self._budget // 2 if self._busy else self._budget)

    def tick(self, now: float, in_system: int) -> None:
        self._busy = in_system > self._above


class Undecorated:
    """No dataclass."""


@dataclass(frozen=True, kw_only=True)
class Unmade:
    """A dataclass that makes nothing."""

    budget: Any = None
