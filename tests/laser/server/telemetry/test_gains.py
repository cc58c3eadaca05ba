"""Only replies whose thoughts the policy alone limited count as shortened by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.request import NO_THOUGHT, ExitReason, Outcome, ReasoningRequest, Thought
from engine.base import FinishReason
from laser.server.policy_choice import ChosenPolicy
from laser.server.telemetry.gains import Gains
from models.kinds.kind import AnswerKind
from tests.support.model_profile import PROFILE

THOUGHT = Thought(
    exit_reason=ExitReason.CONFIDENCE, threshold=0.8, budget=None, confidence=0.9, ids=(1,), withdrawn_tokens=0,
    probes=1, probe_rows=1,
)  # fmt: skip
OUTCOME = Outcome(
    finish_reason=FinishReason.STOP, prompt_tokens=1, completion_tokens=9, thought=THOUGHT, queue_s=0.0, total_s=1.0
)
REQUEST = ReasoningRequest(prompt=(1,), max_tokens=640, difficulty="hard")


def chosen(profile: Any = PROFILE, **limits: Any) -> ChosenPolicy:
    return ChosenPolicy(name="fixed", policy=FixedPolicy(Limits(**limits)), profile=profile)


def counted(gains: Gains, request: ReasoningRequest = REQUEST, outcome: Outcome = OUTCOME, running: int = 1) -> int:
    gains.count(request, outcome, running)
    found = gains.gained()
    return 0 if found is None else found.replies


def test_a_reply_that_the_policy_limited_counts_at_its_batch_and_no_other_does() -> None:
    gains = Gains(chosen(threshold=0.8), max_batch=4)
    assert counted(gains) == 1
    assert counted(gains, replace(REQUEST, max_budget=600), running=99) == 2
    found = gains.gained()
    assert found is not None
    step, context = PROFILE.plant.step_time, PROFILE.plant.context
    row_s = step.seconds(1, context) + step.seconds(4, context) / 4  # a queue fills no batch beyond its size
    assert found.full_thought.seconds == pytest.approx(found.full_thought.tokens / 2 * row_s)
    for request in (
        replace(REQUEST, budget=50),
        replace(REQUEST, early_exit=False),
        replace(REQUEST, answer=AnswerKind.CODE),
        replace(REQUEST, deadline_s=9.0),
        replace(REQUEST, difficulty=None),
        replace(REQUEST, max_tokens=100),  # no room for a full thought
        replace(REQUEST, max_budget=100),
    ):
        assert counted(gains, request) == 2
    others = (ExitReason.DEADLINE, ExitReason.REQUESTED, ExitReason.LOOP)
    for outcome in (
        replace(OUTCOME, thought=NO_THOUGHT),
        replace(OUTCOME, finish_reason=FinishReason.ERROR),
        *(replace(OUTCOME, thought=replace(THOUGHT, exit_reason=reason)) for reason in others),
    ):
        assert counted(gains, outcome=outcome) == 2


def test_nothing_is_estimated_without_a_profile_or_where_other_signals_close_thoughts() -> None:
    for other in (
        chosen(profile=None, threshold=0.8),
        chosen(agree=2),
        chosen(margin=1.0),
        chosen(exits={"own:Signal": 0.5}),
        chosen(threshold=0.8, every=20),
    ):
        assert counted(Gains(other, max_batch=4)) == 0
