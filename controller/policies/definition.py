"""A policy before it serves: its settings, a frozen dataclass that makes the policy for a model and a machine."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from controller.policies.restricted import with_levers, within_account, within_risk
from controller.policy import FixedPolicy, Limits, LoadObserver, Policy
from models.profile.lever import Lever
from models.profile.profile import Profile, ProfileError


class AdaptivePolicy(Policy, LoadObserver, Protocol):
    """A policy that observes the load itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A policy, and the observer that the serving loop must notify for it."""

    policy: Policy
    observer: LoadObserver | None = None  # None: the policy needs no observer


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyContext:
    """What a policy is made from."""

    profile: Profile | None  # the model's; None: it has none
    max_batch: int  # sequences decoded at once
    controller: Callable[[Profile], AdaptivePolicy]  # builds the load-aware controller for a profile's certified points

    def certified(
        self, kind: str, risk: float | None = None, peak: float | None = None, *, levers: Collection[Lever] = ()
    ) -> Profile:
        """Returns the model's profile, certified at `risk`; None: at the calibration's.

        With a `peak` above the risk, the risk is kept on average, by an account, and the peak with each request.
        `levers`: which are in use beside thresholds and budgets.

        Raises ProfileError, which names the policy's kind, if there is no profile, if the profile has too few questions
        for the risk, if its certificate is one of nothing, or if a lever is not certified that is wanted.
        """
        if self.profile is None:
            raise ProfileError(f"policy is {kind}, which needs a profile, and there is none")
        found = certified_at(self.profile, risk, peak, levers=levers)
        if found.refused is not None:
            raise ProfileError(f"policy is {kind}, but the profile certifies nothing: {found.refused}")
        return found


class PolicySettings(Protocol):
    """A policy's settings: a frozen dataclass whose fields are the settings, and whose docstring says what it does.

    A class may also have these attributes:

    - `kind`: the class's key in `controller.policies.registry.POLICIES`;
    - `needs_profile` and `has_controller`: True if the policy needs the model's profile, and if it is the load-aware
      controller, with all of its operating points or some;
    - `levers`: those in use beside thresholds and budgets;
    - `recorded`: False if calibration records nothing that the policy could be simulated from;
    - `limits`: the Limits of a policy that never changes them.
    """

    def make(self, context: PolicyContext) -> Made:
        """Returns the policy. Raises ProfileError if the model's profile lacks what the policy needs."""


def needs_profile(policy: PolicySettings | type[PolicySettings]) -> bool:
    """Whether the policy needs the model's calibrated profile."""
    return bool(getattr(policy, "needs_profile", False))


def has_controller(policy: PolicySettings | type[PolicySettings]) -> bool:
    """Whether the policy is the load-aware controller, with all of its operating points or some."""
    return bool(getattr(policy, "has_controller", False))


def is_recorded(policy: PolicySettings | type[PolicySettings]) -> bool:
    """Whether the policy can be simulated from what calibration records."""
    return bool(getattr(policy, "recorded", True))


def levers_of(policy: PolicySettings) -> frozenset[Lever]:
    """Returns the levers that the policy uses beside thresholds and budgets."""
    return frozenset(getattr(policy, "levers", ()))


def constant_limits(policy: PolicySettings) -> Limits | None:
    """Returns the limits of a policy that never changes them; None: the policy may change them."""
    limits = getattr(policy, "limits", None)
    return limits if isinstance(limits, Limits) else None


def constant(limits: Limits) -> Made:
    """Returns a policy that never changes its limits."""
    return Made(policy=FixedPolicy(limits))


def check_threshold(threshold: float | None) -> None:
    """Raises ValueError if a threshold is given and not in (0, 1]."""
    if threshold is not None and not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold is {threshold}, must lie in (0, 1]")


def certified_at(
    profile: Profile, risk: float | None, peak: float | None, *, levers: Collection[Lever] = ()
) -> Profile:
    """Returns a profile as it is certified at `risk` (None: the calibration's), for an account if there is a `peak`.

    `levers`: which are in use beside thresholds and budgets. Raises ProfileError where `within_risk`, `within_account`
    or `with_levers` does.
    """
    mean = profile.certificate.epsilon if risk is None else risk
    if peak is not None and peak != mean:
        if risk is not None:
            within_risk(profile, risk)  # raises where the profile is too small for it
        profile = within_account(profile, mean, peak)
    elif risk is not None:
        profile = within_risk(profile, risk)
    return with_levers(profile, levers)


def check_peak(risk: float | None, peak: float | None) -> None:
    """Raises ValueError if a peak is given and not in (0, 1), or below the risk."""
    if peak is not None and not 0.0 < peak < 1.0:
        raise ValueError(f"risk_peak is {peak}, must be above 0 and below 1")
    if peak is not None and risk is not None and peak < risk:
        raise ValueError(f"risk_peak is {peak}, must be at least the risk, {risk}")


def check_risk(risk: float | None) -> None:
    """Raises ValueError if a risk is given and not in (0, 1)."""
    if risk is not None and not 0.0 < risk < 1.0:
        raise ValueError(f"risk is {risk}, must be above 0 and below 1")
