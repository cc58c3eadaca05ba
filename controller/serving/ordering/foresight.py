"""The limits that a request will have, as far as they tell how long it takes."""

from __future__ import annotations

from dataclasses import replace

from controller.policy import Limits
from controller.serving.request import ReasoningRequest

UNTHOUGHT = Limits(budget=0)  # of a request that does not think


def limits_of(request: ReasoningRequest, policy: Limits) -> Limits:
    """Returns a request's limits, where the policy's are `policy`."""
    if not request.thinking or request.answered_at_once(policy):
        return UNTHOUGHT
    limits = request.fixed or policy
    if not (request.early_exit and request.tried):
        limits = limits.unprobed()
    own = limits.budget if request.budget is None else request.budget
    caps = [budget for budget in (own, request.max_budget) if budget is not None]
    return replace(limits, budget=min(caps, default=None))
