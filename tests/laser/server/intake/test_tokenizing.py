"""What is turned into tokens or text for clients that ask for nothing else has bounds."""

from __future__ import annotations

import pytest

from laser.server.api.errors import BadRequest
from laser.server.api.reports import DetokenizeRequest
from laser.server.intake.tokenizing import TOLD, detokenize
from models.chat_model import load_chat_model
from models.reasoner import bundled_model


def test_a_text_of_tokens_is_bounded() -> None:
    chat = load_chat_model(bundled_model())
    asked = DetokenizeRequest(tokens=(5,) * (TOLD + 1))
    with pytest.raises(BadRequest, match=f"tokens has {TOLD + 1} entries, must be at most {TOLD}") as refusal:
        detokenize(chat, asked)
    assert refusal.value.param == "tokens"
    assert detokenize(chat, DetokenizeRequest(tokens=(5,) * 100)).prompt == chat.tokenizer.decode([5] * 100)
