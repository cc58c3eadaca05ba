"""Policy `margin`: how nearly the model would close its thought itself, after ThinkBrake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext, constant
from controller.policy import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingMargin:
    """Stops a thought that the model would nearly end itself, by a probe of one token, and at a budget if given."""

    kind: ClassVar[str] = "margin"
    recorded: ClassVar[bool] = False

    # log p(likeliest token) − log p(the closing marker); 6 saved the first bundled model two fifths of its tokens and
    # cost it one to two points of accuracy
    margin: float = 6.0
    budget: int | None = None  # thinking tokens; None: no budget
    every: int | None = None  # tokens from one probe to the next; None: at transition points

    def __post_init__(self) -> None:
        _ = self.limits  # raises ValueError for invalid settings

    @property
    def limits(self) -> Limits:
        """The limits of every thought."""
        return Limits(budget=self.budget, margin=self.margin, every=self.every)

    def make(self, context: PolicyContext) -> Made:
        return constant(self.limits)
