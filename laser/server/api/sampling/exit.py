"""Exits that a request fixes: a threshold and a budget of its own, which no load changes, within what is certified."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from controller.policy import Limits
from laser.server.api.errors import BadRequest
from laser.server.api.fields import GenerationFields, LaserOptions
from laser.server.api.reasoning import ReasoningPolicy
from models.profile.corners import told, within
from models.profile.tables import OperatingPoint

THRESHOLD, BUDGET = "laser.threshold", "laser.budget"


def asked_limits(request: GenerationFields, longest: int) -> Limits | None:
    """Returns the limits that a request fixes for its thought; None: it fixes none.

    Where `laser.budget` is silent, another field's budget in tokens counts. A reply has at most `longest` tokens.
    """
    own, policy = request.laser, request.policy
    if own is None or not policy.enabled or (own.threshold is None and own.budget is None):
        return None
    budget = policy.max_tokens if own.budget is None else own.budget
    return Limits(threshold=own.threshold, budget=None if budget is None else min(budget, longest))


def check_exit(request: GenerationFields, certified: Sequence[OperatingPoint] | None, *, probed: bool) -> None:
    """Raises BadRequest, which names field and range, for an exit that may not be fixed.

    `certified`: the corners of the range that is certified; None: there is no profile, and any exit may be. `probed`:
    whether the server probes thoughts at all.
    """
    own, policy = request.laser, request.policy
    if own is None or (own.threshold is None and own.budget is None):
        return
    _check_others(own, policy, probed=probed)
    if own.threshold is not None and not _may_be_tried(request):
        why = f"no trial answer can stand for the reply, as laser.answer is {own.answer!r}"
        raise BadRequest(f"{THRESHOLD} is {own.threshold:g}, must be left out: {why}", param=THRESHOLD)
    limits = asked_limits(request, sys.maxsize)
    if limits is None or certified is None:
        return
    if not within(OperatingPoint(threshold=limits.threshold, budget=limits.budget), certified):
        param, value = (BUDGET, own.budget) if own.threshold is None else (THRESHOLD, own.threshold)
        beside = "" if None in (limits.threshold, limits.budget) else f" beside a budget of {limits.budget}"
        range_ = told(certified)
        message = f"{param} is {value:g}{beside}, must lie within what is certified for this model: {range_}"
        raise BadRequest(message, param=param)


def _may_be_tried(request: GenerationFields) -> bool:
    """Whether a trial answer may stand for the reply, as far as the client says it; a short grammar bounds any kind."""
    stated = None if request.laser is None else request.laser.answer
    return stated in (None, "short") or (request.offer is None and request.asked_grammar() is not None)


def _check_others(own: LaserOptions, policy: ReasoningPolicy, *, probed: bool) -> None:
    """Raises BadRequest if another field says the contrary."""
    param, value = (BUDGET, own.budget) if own.threshold is None else (THRESHOLD, own.threshold)
    if not policy.enabled:
        why = "another field turns the thought off"
        raise BadRequest(f"{param} is {value:g}, but {why}: must be one of them", param=param)
    if own.budget is not None and policy.max_tokens not in (None, own.budget):
        why = f"another field's budget is {policy.max_tokens}"
        raise BadRequest(f"{BUDGET} is {own.budget}, but {why}: must be one of them", param=BUDGET)
    if own.threshold is not None and (own.early_exit is False or not probed):
        why = "laser.early_exit is false" if own.early_exit is False else "this server probes no thought"
        raise BadRequest(f"{THRESHOLD} is {own.threshold:g}, must be left out: {why}", param=THRESHOLD)
