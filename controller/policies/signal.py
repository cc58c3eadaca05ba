"""Policy `signal`: one exit signal, built in or a user's own, whatever the load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from controller.policies.definition import Made, PolicyContext, constant
from controller.policy import SPELLED, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalPolicy:
    """Stops a thought by one exit signal, your own by module:Class, and at a budget if given."""

    kind: ClassVar[str] = "signal"
    recorded: ClassVar[bool] = False

    signal: str  # its name in controller.serving.signals, or module:Name
    level: float  # level at which the signal closes a thought
    budget: int | None = None  # thinking tokens; None: no budget
    every: int | None = None  # tokens from one probe to the next; None: at transition points

    def __post_init__(self) -> None:
        _ = self.limits  # raises ValueError for invalid settings

    @property
    def limits(self) -> Limits:
        """The limits of every thought."""
        level = int(self.level) if self.signal == "consistency" and self.level == int(self.level) else self.level
        own: dict[str, Any] = (
            {SPELLED[self.signal]: level} if self.signal in SPELLED else {"exits": {self.signal: level}}
        )
        return Limits(budget=self.budget, every=self.every, **own)

    def make(self, context: PolicyContext) -> Made:
        return constant(self.limits)
