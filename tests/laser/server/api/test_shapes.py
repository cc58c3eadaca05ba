"""Whatever a client sends is either understood or refused in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from laser.server.api.chat import ChatRequest
from laser.server.api.errors import validation_error
from laser.server.api.reasoning import EffortShares

HELLO = [{"role": "user", "content": "hello"}]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
bodies = st.dictionaries(st.sampled_from(sorted(ChatRequest.model_fields)), json_values, max_size=4)


@pytest.mark.slow
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
        assert str(refusal).startswith(refusal.param)
        assert "Value error" not in str(refusal)
    else:
        assert chat.limit is None or chat.limit >= 1
        policy = chat.policy
        assert policy.max_tokens is None or policy.max_tokens >= 0
        assert policy.budget(100, EffortShares()) in {policy.max_tokens, None, *range(101)}
