"""Every server's way of saying how to think comes to one policy, in the stated order of precedence."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from laser.server.api.reasoning import Effort, EffortShares, ReasoningFields, ReasoningPolicy
from models.files.strict_yaml import read
from models.formats.form import EffortFormat, Level
from models.thinking import ThinkingFormat, format_file

NUMBERS: list[dict[str, Any]] = [
    {"thinking_token_budget": 7},
    {"reasoning_budget_tokens": 7},
    {"thinking_budget_tokens": 7},
    {"reasoning_budget": 7},
    {"thinking_budget": 7},
    {"reasoning": {"max_tokens": 7}},
    {"thinking": {"type": "enabled", "budget_tokens": 7}},
]
OFF: list[dict[str, Any]] = [
    {"reasoning_effort": "none"},
    {"reasoning": {"effort": "none"}},
    {"reasoning": {"enabled": False}},
    {"thinking": {"type": "disabled"}},
    {"thinking": False},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"chat_template_kwargs": {"thinking": False}},
    {"enable_thinking": False},
    {"think": False},
]


def policy(**body: Any) -> ReasoningPolicy:
    return ReasoningFields.model_validate(body).policy


def test_nothing_said_leaves_everything_to_the_server() -> None:
    assert policy() == ReasoningPolicy()
    assert policy(thinking=None, reasoning=None, reasoning_effort=None) == ReasoningPolicy()


@pytest.mark.parametrize("number", NUMBERS, ids=str)
def test_a_number_comes_before_an_effort_and_an_opt_out(number: dict[str, Any]) -> None:
    assert policy(**number).max_tokens == 7
    body = {"reasoning_effort": "low", "thinking_budget": -1, **number}
    assert policy(**body).budget(1000, EffortShares()) == 7


def test_a_budget_beyond_the_reply_is_the_whole_reply() -> None:
    assert policy(thinking_token_budget=10**30).budget(1000, EffortShares()) == 1000


@pytest.mark.parametrize("off", OFF, ids=str)
def test_thinking_can_be_switched_off_in_any_dialect(off: dict[str, Any]) -> None:
    assert policy(**off).enabled is False


def test_a_number_comes_before_no_effort() -> None:
    asked = policy(reasoning_effort="none", thinking_budget=500)
    assert (asked.enabled, asked.max_tokens) == (True, 500)
    assert not policy(reasoning_effort="none", thinking_budget=-1).enabled


@pytest.mark.parametrize("field", ["thinking_token_budget", "reasoning_budget", "thinking_budget"])
def test_an_opt_out_comes_before_an_effort(field: str) -> None:
    asked = policy(**{field: -1, "reasoning_effort": "minimal"})
    assert (asked.enabled, asked.budget(1000, EffortShares())) == (True, None)


@pytest.mark.parametrize(
    ("effort", "tokens"),
    [("minimal", 100), ("low", 200), ("medium", None), ("high", 800), ("xhigh", 950), ("max", 1000), ("none", 0)],
)
def test_an_effort_is_a_share_of_the_reply(effort: str, tokens: int | None) -> None:
    assert policy(reasoning_effort=effort).budget(1000, EffortShares()) == tokens
    assert policy(reasoning={"effort": effort}).budget(1000, EffortShares()) == tokens


def test_the_template_s_own_switch_comes_first() -> None:
    assert policy(reasoning_effort="none", chat_template_kwargs={"enable_thinking": True}).enabled
    assert policy(thinking={"type": "enabled"}, reasoning={"enabled": False}).enabled


def test_ollamas_word_is_a_switch_or_an_effort() -> None:
    assert policy(think=True).enabled
    assert policy(think="low") == ReasoningPolicy(effort=Effort.LOW)
    assert policy(think="high", reasoning_effort="low").effort is Effort.LOW
    for wrong in ("very", 1, []):
        with pytest.raises(ValidationError, match="must be true, false, 'low', 'medium', 'high'"):
            policy(think=wrong)


@pytest.mark.parametrize("hidden", [{"include_reasoning": False}, {"reasoning": {"exclude": True}}])
def test_a_thought_may_be_kept_out_of_the_response(hidden: dict[str, Any]) -> None:
    assert policy().expose
    assert policy(**hidden) == ReasoningPolicy(expose=False)


def test_a_message_is_taken_and_an_empty_one_is_none() -> None:
    assert policy(reasoning_budget_message="enough").message == "enough"
    assert policy(reasoning_budget_message="").message is None


def test_shares_outside_0_to_1_are_refused() -> None:
    with pytest.raises(ValueError, match=r"low is 1\.5, must lie in 0…1"):
        EffortShares(low=1.5)
    assert EffortShares(medium=0.5).share(Effort.MEDIUM) == 0.5


def test_an_effort_has_the_budget_that_the_model_s_format_gives_it() -> None:
    form = read(format_file("gpt-oss"), ThinkingFormat).effort
    shares = EffortShares()
    budgets = {effort: ReasoningPolicy(effort=effort).budget(4000, shares, form) for effort in Effort}
    assert (budgets[Effort.LOW], budgets[Effort.HIGH]) == (1024, None)  # high is the template's word alone
    assert ReasoningPolicy(effort=Effort.HIGH).budget(4000, shares) == 3200
    assert ReasoningPolicy(effort=Effort.LOW, max_tokens=7).budget(4000, shares, form) == 7
    some = EffortFormat(low=Level(word="brief"))
    assert ReasoningPolicy(effort=Effort.HIGH).budget(4000, shares, some) == 3200  # no level, so the share
