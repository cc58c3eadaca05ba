"""Builds every policy from its name and settings, for servers, experiments and simulations alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controller.controller import Controller
from controller.policies import PolicyName
from controller.policies.load_rule import LoadRule, LoadRuleSettings
from controller.policies.load_table import LoadTable, spread
from controller.policies.restricted import budgets_only, thresholds_only, within_risk
from controller.policy import FixedPolicy, Limits, LoadObserver, Policy
from models.profile.profile import Profile, ProfileError

DEFAULT_THRESHOLD = 0.9
DEFAULT_AGREE = 3  # Dynasor's middle setting, if probes run every 64 tokens
DEFAULT_MARGIN = 6.0  # saves the bundled model two fifths of its tokens and costs it one to two points of accuracy

_CONTROLLERS = {
    PolicyName.LOAD_AWARE: lambda profile: profile,
    PolicyName.THRESHOLDS_ONLY: thresholds_only,
    PolicyName.BUDGETS_ONLY: budgets_only,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """A policy and its settings. Raises ValueError for a setting that the policy does not use."""

    policy: PolicyName
    threshold: float | None = None  # None: the policy's default, 0.9 if fixed
    budget: int | None = None  # thinking tokens; None: this spec sets no budget
    agree: int | None = None  # probes; None: the policy's default, 3 if consistency
    margin: float | None = None  # of log p; None: the policy's default, 6 if margin
    every: int | None = None  # tokens from one probe to the next; None: at transition points
    risk: float | None = None  # certified P(the full thought is right and an exit wrong); None: the profile's

    def __post_init__(self) -> None:
        for name, known in _USES.items():
            value = getattr(self, name)
            if value is not None and self.policy not in known:
                raise ValueError(f"{name} is {value}, but policy is {self.policy}, which has none")
        if self.threshold is not None and not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}, must lie in (0, 1]")
        if self.risk is not None and not 0.0 < self.risk < 1.0:
            raise ValueError(f"risk is {self.risk}, must be above 0 and below 1")
        if self.policy is PolicyName.BUDGET and self.budget is None:
            raise ValueError("policy is budget, which needs one: say how many tokens with budget")
        if self.policy is PolicyName.AUTO:
            raise ValueError("policy is auto, which only a server can resolve: name the policy")
        Limits(budget=self.budget, agree=self.agree, margin=self.margin, every=self.every)  # raises if invalid

    @property
    def limits(self) -> Limits | None:
        """The limits of a policy that never changes them; None: the policy adapts to the load."""
        match self.policy:
            case PolicyName.FIXED:
                threshold = DEFAULT_THRESHOLD if self.threshold is None else self.threshold
                return Limits(threshold=threshold, budget=self.budget, every=self.every)
            case PolicyName.BUDGET:
                return Limits(budget=self.budget)
            case PolicyName.CONSISTENCY:
                agree = DEFAULT_AGREE if self.agree is None else self.agree
                return Limits(threshold=self.threshold, budget=self.budget, agree=agree, every=self.every)
            case PolicyName.MARGIN:
                margin = DEFAULT_MARGIN if self.margin is None else self.margin
                return Limits(budget=self.budget, margin=margin, every=self.every)
            case PolicyName.NO_THINKING:
                return Limits(budget=0)
            case PolicyName.NONE:
                return Limits()
        return None


_USES = {
    "threshold": {PolicyName.FIXED, PolicyName.CONSISTENCY},
    "budget": {PolicyName.FIXED, PolicyName.BUDGET, PolicyName.CONSISTENCY, PolicyName.MARGIN},
    "agree": {PolicyName.CONSISTENCY},
    "margin": {PolicyName.MARGIN},
    "every": {PolicyName.FIXED, PolicyName.CONSISTENCY, PolicyName.MARGIN},
    "risk": {*_CONTROLLERS, PolicyName.PAPER},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A policy, and the observer that the serving loop must notify for it."""

    policy: Policy
    observer: LoadObserver | None = None  # None: the policy needs no observer


def make_policy(
    spec: PolicySpec, profile: Profile | None, *, max_batch: int, controller: Callable[[Profile], Controller]
) -> Made:
    """Returns the policy that `spec` describes; `controller` builds a Controller from a profile.

    `profile` None: the model has none. Raises ProfileError if the policy needs a profile and there is none, or if the
    profile lacks something that the policy needs.
    """
    if (limits := spec.limits) is not None:
        return Made(policy=FixedPolicy(limits))
    basis = profile_of(spec, profile)
    adaptive: Controller | LoadRule | LoadTable
    if spec.policy in _CONTROLLERS:
        adaptive = controller(basis)
    elif spec.policy is PolicyName.PAPER:
        adaptive = LoadRule(_unbudgeted(basis), LoadRuleSettings(scale=max_batch / 2.0))
    else:
        adaptive = LoadTable(spread(basis.budgets, max_batch))
    return Made(policy=adaptive, observer=adaptive)


def profile_of(spec: PolicySpec, profile: Profile | None) -> Profile:
    """Returns the model's profile as the policy uses it: certified at `spec.risk`, and restricted to its points.

    Raises ProfileError if `profile` is None, has too few questions for the risk, or certifies no threshold without a
    budget although the policy is paper.
    """
    if profile is None:
        raise ProfileError(f"policy is {spec.policy}, which needs a profile, and there is none")
    if spec.risk is not None:
        profile = within_risk(profile, spec.risk)
    if spec.policy is PolicyName.PAPER:
        _unbudgeted(profile)
    restrict = _CONTROLLERS.get(spec.policy)
    return profile if restrict is None else restrict(profile)


def _unbudgeted(profile: Profile) -> list[float]:
    thresholds = [point.threshold for point in profile.points() if point.budget is None]
    known = [threshold for threshold in thresholds if threshold is not None]
    if not known:
        raise ProfileError("policy is paper, but the profile certifies no threshold without a budget")
    return known
