"""The policies, by name, and how each is made."""

from __future__ import annotations

from enum import StrEnum


class PolicyName(StrEnum):
    """Who says when a thought is closed."""

    AUTO = "auto"  # a server's choice: load-aware where the model has a profile and nothing is given, else fixed
    LOAD_AWARE = "load-aware"  # the controller: thresholds and budgets by class, from the load
    THRESHOLDS_ONLY = "thresholds-only"  # the controller without budgets
    BUDGETS_ONLY = "budgets-only"  # the controller without probes
    FIXED = "fixed"  # one threshold, and a budget if given
    BUDGET = "budget"  # a budget only, no probes
    CONSISTENCY = "consistency"  # some probes in a row with the same answer, and a budget if given
    MARGIN = "margin"  # a thought that would nearly close itself is closed, and a budget if given
    PAPER = "paper"  # a threshold that falls with the number of requests
    LOAD_TABLE = "load-table"  # a budget that falls with the number of requests, from a static table
    NO_THINKING = "no-thinking"  # thoughts are closed before they begin
    NONE = "none"  # thoughts end by themselves

    @property
    def needs_profile(self) -> bool:
        """Whether it goes by what calibration measured."""
        return self.has_controller or self in (PolicyName.PAPER, PolicyName.LOAD_TABLE)

    @property
    def has_controller(self) -> bool:
        """Whether it is the controller, whole or in part."""
        return self in (PolicyName.LOAD_AWARE, PolicyName.THRESHOLDS_ONLY, PolicyName.BUDGETS_ONLY)
