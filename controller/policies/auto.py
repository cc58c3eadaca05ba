"""Policy `auto`: a server's choice between load-aware and fixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext, check_peak, check_risk, check_threshold
from controller.policy import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Auto:
    """Is load-aware if the model has a profile, or the certified constant that the profile's contest found better.
    Where the profile certifies nothing it is none. Without a profile, or with a threshold, a budget or early exit off,
    it is fixed.
    """

    kind: ClassVar[str] = "auto"
    recorded: ClassVar[bool] = False

    threshold: float | None = None  # confidence, for fixed; None: that policy's default
    budget: int | None = None  # thinking tokens, for fixed; None: that policy's default
    # tokens from one probe to the next, for fixed, and refused where it is another; None: that policy's default
    every: int | None = None
    risk: float | None = None  # certified risk, for load-aware; None: the profile's
    risk_peak: float | None = None  # certified risk of any one request, for load-aware; None: `risk` is that

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        check_risk(self.risk)
        check_peak(self.risk, self.risk_peak)
        Limits(budget=self.budget, every=self.every)  # raises ValueError for invalid settings

    def fixed_by(self, *, early_exit: bool) -> str | None:
        """Returns what makes it the fixed policy, in words, where `early_exit` is a server's setting; None: nothing."""
        said = [f"{name} is given" for name in ("threshold", "budget") if getattr(self, name) is not None]
        said += [] if early_exit else ["early_exit is false"]
        return " and ".join(said) or None

    def make(self, context: PolicyContext) -> Made:
        """Raises ValueError: `laser.server.policy_choice` chooses the policy to make."""
        raise ValueError("policy is auto, which only a server can resolve: name the policy")
