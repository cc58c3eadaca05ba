"""Policies `load-aware`, `thresholds-only` and `budgets-only`: the controller, and the controller with one lever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from controller.policies.definition import Made, PolicyContext, check_peak, check_risk
from controller.policies.restricted import budgets_only, check_price_alone, thresholds_only, within_one_corner
from models.profile.lever import Lever
from models.profile.profile import Profile

LEVERS = {
    "give_up": Lever.GIVE_UP, "price_index": Lever.PRICE_INDEX, "no_thought": Lever.NO_THOUGHT, "width": Lever.WIDTH,
}  # by the name of its setting  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlledPolicy:
    """The settings that all policies of the controller have."""

    kind: ClassVar[str]
    needs_profile: ClassVar[bool] = True
    has_controller: ClassVar[bool] = True

    risk: float | None = (
        None  # the largest probability that an exit spoils a full thought's right answer; None: the profile's
    )
    # the largest such probability of any one request, where `risk` is that of all on average, kept by an account:
    # what calm saves is spent in bursts; None, or equal to `risk`: there is no account
    risk_peak: float | None = None
    # whether the risk is that of the benchmark that exits harm most, too: so no family of questions pays for another
    worst_benchmark: bool = False

    def __post_init__(self) -> None:
        check_risk(self.risk)
        check_peak(self.risk, self.risk_peak)
        account = self.risk_peak not in (None, self.risk)
        if Lever.NO_THOUGHT in self.levers and account:
            raise ValueError("no_thought is True, must be False beside risk_peak: no account charges answers at once")
        check_price_alone(self.levers)
        if Lever.PRICE_INDEX in self.levers and account:
            raise ValueError("price_index is True, must be False beside risk_peak: no account of risk charges prices")

    @property
    def levers(self) -> frozenset[Lever]:
        """Those in use beside thresholds and budgets."""
        return frozenset(lever for name, lever in LEVERS.items() if getattr(self, name, False))

    def make(self, context: PolicyContext) -> Made:
        certified = context.certified(
            self.kind, self.risk, self.risk_peak, levers=self.levers, worst=self.worst_benchmark
        )
        controller = context.controller(within_one_corner(self._usable(certified)))
        return Made(policy=controller, observer=controller)

    def _usable(self, profile: Profile) -> Profile:
        """Returns the profile with the operating points that the controller may use."""
        return profile


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadAware(ControlledPolicy):
    """Stops thoughts sooner the busier the server is, with limits for each difficulty class, within what calibration
    certified. Needs a profile.
    """

    kind: ClassVar[str] = "load-aware"

    # whether hopeless thoughts may be given up: closed with their best trial answer; needs `laser calibrate --give-up`
    give_up: bool = False
    # whether thoughts are closed by their index at a price of a token row instead of by thresholds; needs
    # `laser calibrate --price-index`
    price_index: bool = False
    # whether prompts that need no thought may be answered at once; needs `laser calibrate --no-thought`
    no_thought: bool = False
    # whether several thoughts of one prompt may race where places are idle, so that the answer that most of them give
    # is served; needs `laser calibrate --width`
    width: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdsOnly(ControlledPolicy):
    """As load-aware, but by thresholds alone, without budgets. Needs a profile."""

    kind: ClassVar[str] = "thresholds-only"

    def _usable(self, profile: Profile) -> Profile:
        return thresholds_only(profile)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetsOnly(ControlledPolicy):
    """As load-aware, but by budgets alone, without probes. Needs a profile."""

    kind: ClassVar[str] = "budgets-only"

    def _usable(self, profile: Profile) -> Profile:
        return budgets_only(profile)
