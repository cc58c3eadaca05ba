"""Exits that a request fixes: within what is certified, and not beside what says the contrary."""

from __future__ import annotations

from typing import Any

import pytest

from controller.policy import Limits
from laser.server.api.chat import ChatRequest
from laser.server.api.errors import BadRequest
from laser.server.api.sampling.exit import asked_limits, check_exit
from models.profile.tables import OperatingPoint

CERTIFIED = (OperatingPoint(threshold=0.85, budget=None), OperatingPoint(threshold=0.95, budget=64))


def asked(**body: Any) -> ChatRequest:
    return ChatRequest.model_validate({"messages": [{"role": "user", "content": "?"}], **body})


@pytest.mark.parametrize(
    ("laser", "limits"),
    [
        ({"threshold": 0.9}, Limits(threshold=0.9)),
        ({"threshold": 0.85}, Limits(threshold=0.85)),
        ({"threshold": 0.95, "budget": 64}, Limits(threshold=0.95, budget=64)),
        ({"budget": 64}, Limits(budget=64)),
        ({"threshold": 1, "budget": 10**6}, Limits(threshold=1.0, budget=200)),
        ({}, None),
    ],
)
def test_a_certified_exit_is_the_thought_s_own(laser: dict[str, Any], limits: Limits | None) -> None:
    request = asked(laser=laser)
    check_exit(request, CERTIFIED, probed=True)
    assert asked_limits(request, 200) == limits


@pytest.mark.parametrize(
    ("laser", "param", "told"),
    [
        ({"threshold": 0.84}, "laser.threshold", "is 0.84, must lie within what is certified"),
        ({"threshold": 0.9, "budget": 64}, "laser.threshold", "is 0.9 beside a budget of 64, must lie within"),
        ({"budget": 63}, "laser.budget", "thresholds down to 0.95 with budgets from 64 tokens"),
    ],
)
def test_an_exit_beyond_what_is_certified_is_refused_with_the_range(
    laser: dict[str, Any], param: str, told: str
) -> None:
    with pytest.raises(BadRequest, match=told) as refused:
        check_exit(asked(laser=laser), CERTIFIED, probed=True)
    assert refused.value.param == param
    check_exit(asked(laser=laser), None, probed=True)  # without a profile, any


def test_a_threshold_is_refused_where_the_client_wants_no_answer_that_could_be_tried() -> None:
    for answer in ("code", "open", "structured"):
        with pytest.raises(BadRequest, match=f"is 0.9, must be left out: .* as laser.answer is '{answer}'") as refused:
            check_exit(asked(laser={"threshold": 0.9, "answer": answer}), None, probed=True)
        assert refused.value.param == "laser.threshold"
        check_exit(asked(laser={"budget": 64, "answer": answer}), None, probed=True)
    check_exit(asked(laser={"threshold": 0.9, "answer": "short"}), None, probed=True)
    check_exit(asked(laser={"threshold": 0.9, "answer": "structured"}, guided_choice=["a", "b"]), None, probed=True)


def test_where_nothing_is_certified_only_the_full_thought_may_be_fixed() -> None:
    with pytest.raises(BadRequest, match="certified for this model: none but the full thought"):
        check_exit(asked(laser={"threshold": 1}), (), probed=True)


def test_another_field_s_budget_in_tokens_counts_where_this_one_is_silent() -> None:
    request = asked(laser={"threshold": 0.95}, thinking_token_budget=64)
    check_exit(request, CERTIFIED, probed=True)
    assert asked_limits(request, 200) == Limits(threshold=0.95, budget=64)
    with pytest.raises(BadRequest, match="beside a budget of 10"):
        check_exit(asked(laser={"threshold": 0.95}, thinking_token_budget=10), CERTIFIED, probed=True)


def test_a_server_that_probes_nothing_takes_no_threshold() -> None:
    with pytest.raises(BadRequest, match="this server probes no thought"):
        check_exit(asked(laser={"threshold": 0.9}), None, probed=False)
