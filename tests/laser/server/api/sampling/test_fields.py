"""What requests say of the drawing of tokens, and where they are silent, what the model's files say."""

from __future__ import annotations

from typing import Any

import pytest

from engine.base import Sampling
from laser.server.api.chat import ChatRequest
from laser.server.api.completions import TextRequest
from laser.server.api.errors import BadRequest
from laser.server.api.responses import ResponsesRequest
from models.generation import GenerationDefaults

OWN = GenerationDefaults(temperature=0.6, top_k=20, top_p=0.95, min_p=0.05, repetition_penalty=1.1)
SAID = {
    "temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "presence_penalty": 1.5, "frequency_penalty": -0.5,
    "repetition_penalty": 1.3,
}  # fmt: skip


def chat(**body: Any) -> ChatRequest:
    return ChatRequest.model_validate({"messages": [{"role": "user", "content": "?"}], **body})


def test_every_field_of_the_drawing_comes_to_the_engine() -> None:
    asked = chat(**SAID, logit_bias={"9": 1, "3": -100.0})
    assert asked.sampling(OWN, 320, 5) == Sampling(**SAID, seed=5, logit_bias=((3, -100.0), (9, 1.0)))


def test_where_a_request_is_silent_the_models_own_holds() -> None:
    silent = chat(temperature=None, logit_bias={}).sampling(OWN, 320, 5)
    own = {name: getattr(OWN, name) for name in SAID}
    assert silent == Sampling(**own, seed=5)
    assert chat(repetition_penalty=1, min_p=0).sampling(OWN, 320, 5).penalises is False


def test_the_numbers_of_tokens_may_be_written_as_json_has_them() -> None:
    asked = chat(stop_token_ids=[5.0, 7, 5], top_k=10**9, logit_bias={"007": 1})
    assert asked.stop_token_ids == {5, 7}
    assert asked.sampling(OWN, 320, 5).top_k == 320
    assert asked.logit_bias == {7: 1.0}
    asked.check_tokens(8)
    for name, given in (("stop_token_ids", [7]), ("logit_bias", {"7": 1})):
        with pytest.raises(BadRequest, match=rf"^{name} has token 7, must lie in 0…6$"):
            chat(**{name: given}).check_tokens(7)


@pytest.mark.parametrize(
    ("request_", "log_probs"),
    [
        (chat(), None),
        (chat(logprobs=False, top_logprobs=0), None),
        (chat(logprobs=True), 0),
        (chat(logprobs=True, top_logprobs=20), 20),
        (TextRequest.model_validate({"prompt": "?", "logprobs": 0}), 0),
        (TextRequest.model_validate({"prompt": "?", "logprobs": False}), None),
        (TextRequest.model_validate({"prompt": "?", "n": 2, "best_of": 2}), None),
        (ResponsesRequest.model_validate({"input": "?", "include": ["reasoning.encrypted_content"]}), None),
        (ResponsesRequest.model_validate({"input": "?", "include": ["message.output_text.logprobs"]}), 0),
    ],
)
def test_log_probabilities_are_asked_for_in_three_ways(request_: Any, log_probs: int | None) -> None:
    request_.check_choices(8)
    assert (request_.log_probs, request_.kept_log_probs) == (log_probs, log_probs)


def test_the_best_replies_are_chosen_by_probabilities_that_nobody_is_told() -> None:
    asked = TextRequest.model_validate({"prompt": "?", "n": 2, "best_of": 4})
    assert (asked.sent_choices, asked.made_choices) == (2, 4)
    assert (asked.log_probs, asked.kept_log_probs) == (None, 0)
