"""What is turned into tokens or text for clients that ask for nothing else has bounds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from laser.server.api.errors import BadRequest
from laser.server.api.reports import DetokenizeRequest
from laser.server.intake.tokenizing import MOST_TEXT, TOLD, detokenize


@pytest.mark.parametrize("count", [TOLD * 100 + 1, MOST_TEXT // 5 + 1])
def test_a_text_of_tokens_is_bounded(count: int) -> None:
    decoded: list[int] = []
    tokenizer = SimpleNamespace(texts=["x" * 5, "y"], decode=decoded.extend)
    chat, room = cast(Any, SimpleNamespace(tokenizer=tokenizer)), 100 if count < 1000 else count
    asked = DetokenizeRequest.model_construct(tokens=(0,) * count)
    with pytest.raises(BadRequest, match="must be at most") as refusal:
        detokenize(chat, asked, room)
    assert refusal.value.param == "tokens"
    assert not decoded
