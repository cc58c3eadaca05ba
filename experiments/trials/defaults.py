"""What an experiment takes where its file says nothing: the policies that others are compared with, and the SLO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from controller.policy import Limits
from models.profile.profile import Profile

SAFE = 0.95  # the threshold of a constant that is taken to be safe
REPLIES = 5.0  # an SLO, in mean replies with full thought that have the engine to themselves
NO_PROFILE_SLO_S = 10.0  # what people wait for without turning to something else (Nielsen, Usability Engineering, 1993)


class Compared(Protocol):
    """A policy with its name, and the limits that it never changes; None: it may change them."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def constant(self) -> bool: ...
    @property
    def limits(self) -> Limits | None: ...


def full_thought(policies: Sequence[Compared]) -> str | None:
    """Returns the name of the first policy that leaves thoughts alone; None: there is none."""
    return next((one.name for one in policies if one.kind == "none" and one.constant), None)


def safe_constant(policies: Sequence[Compared]) -> str | None:
    """Returns the name of the constant threshold nearest to SAFE, the stricter of two; None: there is no threshold."""
    thresholds = {
        one.name: one.limits.threshold
        for one in policies
        if one.constant and one.limits is not None and one.limits.threshold is not None and one.limits.budget is None
    }
    return min(thresholds, key=lambda name: (abs(thresholds[name] - SAFE), -thresholds[name]), default=None)


def reply_seconds(profile: Profile) -> dict[str, float]:
    """Returns the SLO of each class by a profile: REPLIES mean replies with full thought, in two digits."""
    alone = profile.plant_model().rate(1)
    return {
        name: float(f"{REPLIES * tokens[0][0] / alone:.2g}")
        for name, tokens in zip(profile.classes, profile.tokens, strict=True)
    }
