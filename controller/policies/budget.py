"""Policy `budget`: a budget only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext, constant
from controller.policy import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedBudget:
    """Stops a thought at a budget of tokens; nothing is probed."""

    kind: ClassVar[str] = "budget"

    budget: int | None = None  # thinking tokens; None is refused

    def __post_init__(self) -> None:
        if self.budget is None:
            raise ValueError("policy is budget, which needs one: say how many tokens with budget")
        _ = self.limits  # raises ValueError for invalid settings

    @property
    def limits(self) -> Limits:
        """The limits of every thought."""
        return Limits(budget=self.budget)

    def make(self, context: PolicyContext) -> Made:
        return constant(self.limits)
