"""Which replies count as shortened by the policy, so that what was saved can be estimated."""

from __future__ import annotations

import threading

from controller.policies.definition import levers_of
from controller.serving.request import CUTS, ExitReason, Outcome, ReasoningRequest
from engine.base import FinishReason
from laser.server.policy_choice import ChosenPolicy
from models.profile.savings import Gained, Savings


class Gains:
    """Counts replies as they end. Without a profile, or with limits that no profile measures, nothing is counted.

    The engine's thread counts, any thread may read.
    """

    def __init__(self, chosen: ChosenPolicy, max_batch: int) -> None:
        limits = chosen.policy.limits(None)
        measured = limits.agree is None and limits.margin is None and not limits.exits and limits.every is None
        measured = measured and (chosen.settings is None or not levers_of(chosen.settings))  # which have own tables
        self._savings = Savings(chosen.profile) if chosen.profile is not None and measured else None
        self._chosen = chosen
        self._max_batch = max_batch
        self._lock = threading.Lock()

    def gained(self) -> Gained | None:
        """Returns the estimate since the start; None: there is none."""
        with self._lock:
            return None if self._savings is None else self._savings.gained

    def count(self, request: ReasoningRequest, outcome: Outcome, running: int) -> None:
        """Counts a reply. `running`: the requests that had not ended with it, those that wait among them."""
        if self._savings is None or not self._left_to_policy(request, outcome):
            return
        point = self._savings.point(request.difficulty, outcome.thought.threshold, outcome.thought.budget)
        if point is not None:
            controller = self._chosen.controller
            step_time = None if controller is None else controller.status.estimate.step_time
            with self._lock:
                self._savings.count(point, min(self._max_batch, max(1, running)), step_time)

    def _left_to_policy(self, request: ReasoningRequest, outcome: Outcome) -> bool:
        """Whether the policy alone limited the thought, and the request left room for a full one."""
        assert self._savings is not None
        room = request.max_tokens if request.max_budget is None else min(request.max_tokens, request.max_budget)
        return (
            outcome.finish_reason is not FinishReason.ERROR
            and outcome.thought.exit_reason is not None
            and outcome.thought.exit_reason not in CUTS - {ExitReason.BUDGET}  # a client, a deadline or a loop ended it
            and request.deadline_s is None
            and request.left_to_policy
            and room >= self._savings.full_steps(request.difficulty)
        )
