"""Policy `paper`: the rule of `controller.policies.load_rule` over a profile's certified thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext, check_risk
from controller.policies.load_rule import LoadRule, LoadRuleSettings
from models.profile.profile import ProfileError


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """Stops thoughts at a threshold that falls with the number of requests, whatever the question; to compare with.
    Rules of this shape are published without their constants, which are LASER's here. Needs a profile.
    """

    kind: ClassVar[str] = "paper"
    needs_profile: ClassVar[bool] = True

    risk: float | None = (
        None  # the largest probability that an exit spoils a full thought's right answer; None: the profile's
    )

    def __post_init__(self) -> None:
        check_risk(self.risk)

    def make(self, context: PolicyContext) -> Made:
        """Raises ProfileError also if the profile certifies no threshold without a budget."""
        profile = context.certified(self.kind, self.risk)
        thresholds = [point.threshold for point in profile.points() if point.budget is None]
        known = [threshold for threshold in thresholds if threshold is not None]
        if not known:
            raise ProfileError("policy is paper, but the profile certifies no threshold without a budget")
        rule = LoadRule(known, LoadRuleSettings(scale=context.max_batch / 2.0))
        return Made(policy=rule, observer=rule)
