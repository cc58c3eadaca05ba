"""Policy `consistency`: consecutive probes with the same answer, after Dynasor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext, check_threshold, constant
from controller.policy import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Stops a thought when trial answers in a row agree, and at a threshold or budget if given."""

    kind: ClassVar[str] = "consistency"

    agree: int = 3  # probes; Dynasor's middle setting, if probes run every 64 tokens
    threshold: float | None = None  # confidence; None: no threshold
    budget: int | None = None  # thinking tokens; None: no budget
    every: int | None = None  # tokens from one probe to the next; None: at transition points

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        _ = self.limits  # raises ValueError for invalid settings

    @property
    def limits(self) -> Limits:
        """The limits of every thought."""
        return Limits(threshold=self.threshold, budget=self.budget, agree=self.agree, every=self.every)

    def make(self, context: PolicyContext) -> Made:
        return constant(self.limits)
