"""A policy that gives up whatever is not sure, as if medians were a few tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext, constant
from controller.policy import Limits
from models.profile.give_up import GiveUpCurve, GiveUpLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Impatient:
    """Gives a thought up at its first unsure trial answer."""

    kind: ClassVar[str] = "impatient"

    def make(self, context: PolicyContext) -> Made:
        curve = GiveUpLimit(curve=GiveUpCurve(height=0.9, rise=0.01), median=3.0)
        return constant(Limits(threshold=0.95, give_up=curve))
