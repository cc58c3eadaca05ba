"""Policies `load-aware`, `thresholds-only` and `budgets-only`: the controller, and the controller with one lever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext, check_risk
from controller.policies.restricted import budgets_only, thresholds_only
from models.profile.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadAware:
    """Closes thoughts by class and load, at certified thresholds and budgets: the controller."""

    kind: ClassVar[str] = "load-aware"
    needs_profile: ClassVar[bool] = True
    has_controller: ClassVar[bool] = True

    risk: float | None = None  # certified P(the full thought is right and an exit wrong); None: the profile's

    def __post_init__(self) -> None:
        check_risk(self.risk)

    def make(self, context: PolicyContext) -> Made:
        return _controlled(context, context.certified(self.kind, self.risk))


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdsOnly:
    """As load-aware, but without budgets."""

    kind: ClassVar[str] = "thresholds-only"
    needs_profile: ClassVar[bool] = True
    has_controller: ClassVar[bool] = True

    risk: float | None = None  # as LoadAware's

    def __post_init__(self) -> None:
        check_risk(self.risk)

    def make(self, context: PolicyContext) -> Made:
        return _controlled(context, thresholds_only(context.certified(self.kind, self.risk)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetsOnly:
    """As load-aware, but without probes."""

    kind: ClassVar[str] = "budgets-only"
    needs_profile: ClassVar[bool] = True
    has_controller: ClassVar[bool] = True

    risk: float | None = None  # as LoadAware's

    def __post_init__(self) -> None:
        check_risk(self.risk)

    def make(self, context: PolicyContext) -> Made:
        return _controlled(context, budgets_only(context.certified(self.kind, self.risk)))


def _controlled(context: PolicyContext, usable: Profile) -> Made:
    controller = context.controller(usable)
    return Made(policy=controller, observer=controller)
