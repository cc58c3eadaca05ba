"""Policy `fixed`: one threshold, and a budget if given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext, check_threshold, constant
from controller.policy import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedThreshold:
    """Stops a thought once its confidence reaches one threshold, and at a budget if given."""

    kind: ClassVar[str] = "fixed"

    threshold: float = 0.9  # confidence
    budget: int | None = None  # thinking tokens; None: no budget
    every: int | None = None  # tokens from one probe to the next; None: at transition points

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        _ = self.limits  # raises ValueError for invalid settings

    @property
    def limits(self) -> Limits:
        """The limits of every thought."""
        return Limits(threshold=self.threshold, budget=self.budget, every=self.every)

    def make(self, context: PolicyContext) -> Made:
        return constant(self.limits)
