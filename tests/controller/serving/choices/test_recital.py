"""A prompt that is scored: its tokens are decoded one by one, whatever they are, and are no part of the reply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.serving.request import ReasoningRequest
from engine.base import FinishReason, Sampling
from models.tokenizer import ChatTokenizer
from tests.support.serving_bench import END, Bench
from tests.support.tiny_models import Oracle

Chain = Callable[..., Bench]
ALONE: dict[str, Any] = {"thinking": False, "continues": True, "scores_prompt": True, "log_probs": 3}


@pytest.mark.parametrize("max_tokens", [0, 1])
@pytest.mark.parametrize("closed", [False, True])
def test_a_prompts_tokens_are_scored_and_count_as_the_prompts(
    random_model: Path, random_oracle: Oracle, tokenizer: ChatTokenizer, max_tokens: int, closed: bool
) -> None:
    bench = Bench(random_model, tokenizer)
    prompt = f"a{END}\n<think>b</think>é"
    drawn = Sampling(temperature=2.0, seed=3, presence_penalty=1.5)
    heard = bench.ask(prompt, max_tokens=max_tokens, closed=closed, sampling=drawn, **ALONE)
    tokens = tokenizer.encode(prompt)
    outcome = heard.outcome
    assert [score.token for score in outcome.prompt_scores] == tokens[1:]
    for at, score in enumerate(outcome.prompt_scores, start=1):
        assert score.log_prob == pytest.approx(random_oracle.log_probs(tokens[:at], [score.token])[0], abs=1e-4)
        assert len(score.likeliest) == 3
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (len(tokens), max_tokens)
    assert outcome.finish_reason is FinishReason.LENGTH
    assert outcome.averted == 0
    plain = bench.ask(prompt, thinking=False, continues=True, closed=closed, max_tokens=1, sampling=drawn)
    assert heard.content == (plain.content if max_tokens else "")


def test_the_token_that_follows_does_not_end_the_reply(chain: Chain) -> None:
    heard = chain({"a": {END: 0.6, "b": 0.3}}).ask("xa", max_tokens=1, **ALONE)
    assert heard.content == "b"
    assert [score.token for delta in heard.deltas for score in delta.scores]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"max_tokens": 2}, "max_tokens is 2, must lie in 0…1"),
        ({"prompt": (1,), "max_tokens": 0}, "max_tokens is 0, must lie in 1…1"),
        ({"thinking": True}, "no thought"),
        ({"choices": 2}, "one reply"),
        ({"log_probs": None}, "with log probabilities"),
    ],
)
def test_what_a_scored_prompt_cannot_be_beside_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ReasoningRequest(**{"prompt": (1, 2), "max_tokens": 1, **ALONE, **wrong})
