"""Whatever a client sends is either understood or refused in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from laser.errors import validation_error
from laser.schemas import ChatRequest

HELLO = [{"role": "user", "content": "hello"}]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
bodies = st.dictionaries(st.sampled_from(sorted(ChatRequest.model_fields)), json_values, max_size=4)


@settings(deadline=None)
@given(body=bodies, greeted=st.booleans())
def test_any_body_is_understood_or_refused_in_one_sentence(body: dict[str, Any], greeted: bool) -> None:
    body = {**body, "messages": HELLO} if greeted else body
    try:
        chat = ChatRequest.model_validate(body)
    except ValidationError as error:
        refusal = validation_error(error.errors(), content_type="application/json")
        assert refusal.status == 400
        assert refusal.param is not None
        assert refusal.body()["error"]["message"].startswith(refusal.param)
        assert "Value error" not in str(refusal)
    else:
        assert chat.limit is None or chat.limit >= 1
        assert chat.budget is None or chat.budget >= 0


@pytest.mark.parametrize(
    ("body", "thinking", "budget", "limit"),
    [
        ({}, True, None, None),
        ({"reasoning_effort": "none"}, False, None, None),
        ({"reasoning_effort": "high"}, True, None, None),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False, None, None),
        ({"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "none"}, True, None, None),
        ({"chat_template_kwargs": {"other": 1}, "reasoning_effort": "none"}, False, None, None),
        ({"thinking_budget": 0}, True, 0, None),
        ({"thinking_budget": 9, "thinking_token_budget": 5}, True, 5, None),
        ({"reasoning_budget": -1}, True, None, None),
        ({"max_tokens": 7}, True, None, 7),
        ({"max_tokens": 7, "max_completion_tokens": 9}, True, None, 9),
    ],
)
def test_the_many_ways_to_ask_for_thinking_are_one(
    body: dict[str, Any], thinking: bool, budget: int | None, limit: int | None
) -> None:
    chat = ChatRequest.model_validate({"messages": HELLO, **body})
    assert (chat.thinking, chat.budget, chat.limit) == (thinking, budget, limit)
