"""Exits that a request fixes: a threshold and a budget of its own, which no load changes, within what is certified."""

from __future__ import annotations

from collections.abc import Sequence

from controller.policy import Limits
from laser.server.api.errors import BadRequest
from laser.server.api.fields import GenerationFields
from models.profile.corners import told, within
from models.profile.tables import OperatingPoint

THRESHOLD, BUDGET = "laser.threshold", "laser.budget"


def asked_limits(request: GenerationFields, tokens: int | None) -> Limits | None:
    """Returns the limits that a request fixes; None: it fixes none.

    `tokens`: the budget that another field states in tokens, which counts where `laser.budget` is silent; None: none.
    """
    own = request.laser
    if own is None or (own.threshold is None and own.budget is None):
        return None
    return Limits(threshold=own.threshold, budget=tokens if own.budget is None else own.budget)


def check_exit(request: GenerationFields, certified: Sequence[OperatingPoint] | None, *, probed: bool) -> None:
    """Raises BadRequest, which names field and range, for an exit that may not be fixed.

    `certified`: the corners of the range that is certified; None: there is no profile, and any exit may be. `probed`:
    whether the server probes thoughts at all.
    """
    own, policy = request.laser, request.policy
    limits = asked_limits(request, policy.max_tokens)
    if own is None or limits is None:
        return
    if own.budget is not None and policy.max_tokens not in (None, own.budget):
        message = f"{BUDGET} is {own.budget}, but another field's budget is {policy.max_tokens}: must be one of them"
        raise BadRequest(message, param=BUDGET)
    if own.threshold is not None and (own.early_exit is False or not probed):
        why = "laser.early_exit is false" if own.early_exit is False else "this server probes no thought"
        raise BadRequest(f"{THRESHOLD} is {own.threshold:g}, must be left out: {why}", param=THRESHOLD)
    exit_ = OperatingPoint(threshold=limits.threshold, budget=limits.budget)
    if certified is None or within(exit_, certified):
        return
    param, value = (BUDGET, own.budget) if own.threshold is None else (THRESHOLD, own.threshold)
    beside = "" if None in (limits.threshold, limits.budget) else f" beside a budget of {limits.budget}"
    message = f"{param} is {value:g}{beside}, must lie within what is certified for this model: {told(certified)}"
    raise BadRequest(message, param=param)
