"""The policies by name, and how each is built."""

from __future__ import annotations

from enum import StrEnum


class PolicyName(StrEnum):
    """The policy that decides when a thought is closed."""

    AUTO = "auto"  # chosen by the server: load-aware if the model has a profile and no setting is given, else fixed
    LOAD_AWARE = "load-aware"  # the controller: thresholds and budgets by class, from the load
    THRESHOLDS_ONLY = "thresholds-only"  # the controller without budgets
    BUDGETS_ONLY = "budgets-only"  # the controller without probes
    FIXED = "fixed"  # one threshold, and a budget if given
    BUDGET = "budget"  # a budget only, no probes
    CONSISTENCY = "consistency"  # consecutive probes with the same answer, and a threshold or budget if given
    MARGIN = "margin"  # closes a thought when the closing marker is nearly the likeliest token; a budget if given
    PAPER = "paper"  # a threshold that falls with the number of requests
    LOAD_TABLE = "load-table"  # a budget that falls with the number of requests, from a static table
    NO_THINKING = "no-thinking"  # thoughts are closed before they begin
    NONE = "none"  # only the model ends its thoughts

    @property
    def needs_profile(self) -> bool:
        """Whether the policy needs the model's calibrated profile."""
        return self.has_controller or self in (PolicyName.PAPER, PolicyName.LOAD_TABLE)

    @property
    def has_controller(self) -> bool:
        """Whether the policy is the controller, with all of its operating points or some."""
        return self in (PolicyName.LOAD_AWARE, PolicyName.THRESHOLDS_ONLY, PolicyName.BUDGETS_ONLY)
