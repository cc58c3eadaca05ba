"""A policy under which three greedy thoughts of each prompt race, if there are places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext, constant
from controller.policy import Limits
from models.profile.width import RaceRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Threefold:
    """Has three thoughts race, and their answers vote."""

    kind: ClassVar[str] = "threefold"

    def make(self, context: PolicyContext) -> Made:
        return constant(Limits(race=RaceRule(width=3, vote=True)))
