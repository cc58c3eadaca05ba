"""What a client hears of random thoughts: every kept token once, and never one that is withdrawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy import FixedPolicy, Limits
from controller.serving.loop import ServingLoop
from controller.serving.request import ExitReason
from engine.base import FinishReason, Sampling
from models.thinking import Keep
from models.tokenizer import ChatTokenizer
from tests.support.engine_requests import search
from tests.support.serving_bench import END, FORM, Bench, Heard
from tests.support.tiny_models import Oracle

# a random model seldom writes a blank line or `Wait`: so these common letters and words count as cue words


def assert_heard(streamed: str, whole: str) -> None:
    """`streamed` is all of `whole` but for white space around it and a last character that never became complete."""
    whole = whole.strip()
    assert whole.startswith(streamed)
    assert whole[len(streamed) :].strip("\ufffd").strip() == ""


def check(bench: Bench, sequence: int, heard: Heard) -> None:
    """All that the client heard is what the sequence was left with, and every number of the outcome fits it."""
    thought, answer = bench.kept(sequence)  # type: ignore[arg-type]
    account = bench.engine.ledger.accounts[sequence]  # type: ignore[index]
    if thought:
        assert_heard(heard.reasoning, bench.tokenizer.decode(thought))
    else:
        assert heard.reasoning in ("", "~")  # thinking is off, or its budget is 0 and the prompt closes it
    assert_heard(heard.content.strip(), bench.tokenizer.decode(answer))
    outcome = heard.outcome
    assert outcome.completion_tokens == len(account.tokens) <= account.request.max_new_tokens
    assert heard.content
    if outcome.thought.exit_reason is not None:
        closing = {ExitReason.NATURAL: 0}.get(outcome.thought.exit_reason, 1) if thought else 0  # the ~ that is forced
        assert outcome.thought.tokens == len(thought) - closing
        assert outcome.thought.probes >= len(heard.checkpoints)
        if outcome.thought.exit_reason is not ExitReason.CONFIDENCE:
            assert sum(checkpoint.rows for checkpoint in heard.checkpoints) <= outcome.thought.probe_rows
        for checkpoint in heard.checkpoints:
            assert checkpoint.thought_tokens <= len(thought) + outcome.thought.withdrawn_tokens


@pytest.mark.slow
@search(12)
@given(
    limits=st.sampled_from([Limits(threshold=threshold) for threshold in (None, 1e-9, 0.1, 0.3, 2.0)])
    | st.sampled_from([Limits(margin=margin) for margin in (0.0, 2.0, 4.0, 100.0)]),
    budget=st.sampled_from([None, 0, 1, 7, 30]),
    keep=st.sampled_from(Keep),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    seed=st.integers(0, 100),
    cancelled=st.sets(st.integers(0, 9), max_size=3),
)
def test_the_deltas_are_the_kept_tokens_and_nothing_else(
    random_model: Path,
    random_oracle: Oracle,
    tokenizer: ChatTokenizer,
    limits: Limits,
    budget: int | None,
    keep: Keep,
    temperature: float,
    seed: int,
    cancelled: set[int],
) -> None:
    policy = FixedPolicy(replace(limits, budget=budget))
    bench = Bench(random_model, tokenizer, policy=policy, form=replace(FORM, keep=keep), cells=600, max_batch=4)
    prompts = ["Let me think", "?", "the user wants", "count: 1, 2, 3" * 5]
    asked = []
    for i in range(10):
        sampling = Sampling(temperature=temperature, seed=seed + i)
        asked.append(bench.queue(prompts[i % 4], max_tokens=20 + 9 * i, sampling=sampling, thinking=i % 5 != 4))
        bench.tick(2)
    for i in cancelled:
        bench.loop.cancel(asked[i][0])
    bench.run()
    sequences = {account.request.sampling.seed: sequence for sequence, account in bench.engine.ledger.accounts.items()}
    for i, (_, heard) in enumerate(asked):
        if heard.outcomes:
            check(bench, sequences[seed + i], heard)
        else:
            assert i in cancelled
    if temperature == 0.0:
        bench.engine.ledger.verify(random_oracle)


def test_a_tiny_threshold_replies_what_follows_the_suffix_at_the_first_transition(
    random_model: Path, random_oracle: Oracle, tokenizer: ChatTokenizer
) -> None:
    bench = Bench(random_model, tokenizer, policy=FixedPolicy(Limits(threshold=1e-9)), form=FORM)
    closed = 0
    for prompt in ["Let me think", "the user wants", "count: 1, 2", "I have to", "so", "answer", "Wait", "?", "7"]:
        sequence, heard = bench.submit(prompt, max_tokens=80)
        bench.run()
        thought = heard.outcome.thought
        if thought.exit_reason is not ExitReason.CONFIDENCE:
            continue
        closed += 1
        checkpoint = heard.checkpoints[-1]
        suffix = bench.thinking.probe_suffix
        account = bench.engine.ledger.accounts[sequence]
        assert tuple(account.tokens[checkpoint.thought_tokens :][: len(suffix)]) == suffix
        context = (*account.request.prompt, *account.tokens[: checkpoint.thought_tokens], *suffix)
        rest = account.tokens[checkpoint.thought_tokens + len(suffix) :]
        answer = bench.thinking.format.probe.max_answer_tokens
        random_oracle.assert_continues(context, rest[:answer], stops=bench.thinking.probe_stops)
        random_oracle.assert_continues((*context, *rest[:answer]), rest[answer:], stops=tokenizer.eos_ids)
    assert closed >= 2


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 5, 8, 13, 21, 34, 60])
def test_random_models_answer_within_max_tokens(random_model: Path, tokenizer: ChatTokenizer, max_tokens: int) -> None:
    bench = Bench(random_model, tokenizer, policy=FixedPolicy(Limits(threshold=0.2)), form=FORM)
    clients = [
        bench.submit(max_tokens=max_tokens, thinking=thinking, sampling=Sampling(temperature=1.0, seed=seed))[1]
        for seed in range(8)
        for thinking in (True, False)
    ]
    bench.run()
    for client in clients:
        assert client.content
        assert client.outcome.completion_tokens <= max_tokens


def test_a_probe_answer_that_runs_into_the_end_of_sequence_does_not_reply_it(
    tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    """A model may end its trial answer with its end token instead of the brace: that is no text of the answer."""
    from tests.support.tiny_models import save_chain

    (newline,), (a,), (paragraph,) = (tokenizer.encode(text) for text in ("\n", "a", ".\n\n"))
    (brace,), (seven,), (end,) = (tokenizer.encode(text) for text in ("{", "7", "<|im_end|>"))
    rows = {newline: {a: 0.99}, a: {paragraph: 0.99}, paragraph: {a: 0.99}, brace: {seven: 0.9}, seven: {end: 0.99}}
    save_chain(tmp_path, 432, rows)
    bench = Bench(tmp_path, tokenizer, policy=FixedPolicy(Limits(threshold=0.8)))
    assert isinstance(bench.loop, ServingLoop)
    sequence, heard = bench.submit()
    bench.run()
    assert heard.content == "{7"
    assert heard.outcome.finish_reason is FinishReason.STOP
    assert bench.engine.ledger.accounts[sequence].tokens.count(end) == 1
    (checkpoint,) = heard.checkpoints
    assert checkpoint.confidence == pytest.approx(0.9, rel=1e-3)
    assert checkpoint.answer == "7"


@pytest.mark.parametrize(
    ("options", "said", "tokens"),
    [({}, "\n", 2), ({"stop": ("\n",)}, "", 1), ({"stop_ids": "\n"}, "", 1)],
    ids=str,
)
def test_what_goes_on_with_a_text_may_be_white_space_and_may_end_behind_its_first_token(
    chain: Callable[..., Bench], tokenizer: ChatTokenizer, options: dict[str, Any], said: str, tokens: int
) -> None:
    """And it ends at a stop wherever that comes; else a reply shows a character first."""
    options = {**options, "stop_ids": frozenset(tokenizer.encode(options.get("stop_ids", "")))}
    heard = chain({"?": "\n", "\n": END}).ask("?", thinking=False, continues=True, **options)
    assert heard.content == said
    assert heard.outcome.completion_tokens == tokens
    assert heard.outcome.finish_reason is FinishReason.STOP
