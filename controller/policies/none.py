"""Policies `none` and `no-thinking`: all of a thought, and nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext, constant
from controller.policy import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class FullThought:
    """Never stops a thought: the model ends it itself."""

    kind: ClassVar[str] = "none"
    limits: ClassVar[Limits] = Limits()

    def make(self, context: PolicyContext) -> Made:
        return constant(self.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoThinking:
    """Stops every thought before it begins."""

    kind: ClassVar[str] = "no-thinking"
    recorded: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(budget=0)

    def make(self, context: PolicyContext) -> Made:
        return constant(self.limits)
