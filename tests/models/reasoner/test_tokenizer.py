"""Tokenizer, chat template and fork packing of the bundled reasoner."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.reasoner.forms import alone, direct
from models.reasoner.network import Network, Shape
from models.reasoner.packing import Example, example, pack, visible
from models.reasoner.tasks import FAMILIES, generate
from models.reasoner.tokenizer import Encoder, build_tokenizer
from models.reasoner.traces import CAP, DIRECT, END, EXIT, closing

TINY = Shape(hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, mlp=48)


@pytest.fixture(scope="session")
def reasoner_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tokenizer as a user gets it: saved, then loaded with AutoTokenizer."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer

    directory: Path = tmp_path_factory.mktemp("reasoner_tokenizer")
    build_tokenizer(seed=0, samples=900).save_pretrained(directory)
    return AutoTokenizer.from_pretrained(directory)


@pytest.fixture(scope="session")
def encoder(reasoner_tokenizer: Any) -> Encoder:
    return Encoder(reasoner_tokenizer)


@given(text=st.text())
def test_any_unicode_survives_the_tokenizer(reasoner_tokenizer: Any, text: str) -> None:
    ids = reasoner_tokenizer(text)["input_ids"]
    assert reasoner_tokenizer.decode(ids, skip_special_tokens=False) == text


def test_digits_are_single_tokens_and_marks_are_one_token_each(encoder: Encoder) -> None:
    assert len(encoder.ids("4711")) == 4
    assert len(encoder.ids("7 42")) == 3
    for mark in ("<think>", "</think>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "\n", "\n\n", "\\boxed", "{"):
        assert encoder.text([encoder.one(mark)]) == mark


def test_the_marks_of_a_thought_stay_visible_in_decoded_text(reasoner_tokenizer: Any) -> None:
    ids = reasoner_tokenizer("<think>\nOkay.\n\n</think>\n\nfine<|im_end|>")["input_ids"]
    assert reasoner_tokenizer.decode(ids, skip_special_tokens=True) == "<think>\nOkay.\n\n</think>\n\nfine"


@given(family=st.sampled_from(FAMILIES), seed=st.integers(0, 2**32 - 1))
def test_a_forced_exit_is_token_by_token_the_natural_ending(encoder: Encoder, family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = generate(family, rng)
    trace = problem.thought(rng)
    whole = encoder.ids("<think>\n" + trace.completion)
    suffix = encoder.ids(EXIT)
    close = whole.index(encoder.close)
    assert whole[close : close + len(suffix)] == suffix
    assert whole[close:] == encoder.ids(closing(problem.answer))
    ends = [0, *np.cumsum([len(encoder.ids(paragraph)) for paragraph in trace.texts])]
    for paragraph, (start, stop) in zip(trace.texts, pairwise(ends), strict=True):
        inside = whole[2:][start:stop]
        assert encoder.text(inside) == paragraph  # a paragraph end is a token boundary
        assert inside[-1] == encoder.blank_line


def test_the_template_opens_a_thought_or_an_empty_one(reasoner_tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    render = reasoner_tokenizer.apply_chat_template
    thinking = render(messages, tokenize=False, add_generation_prompt=True)
    assert thinking == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n"
    direct = render(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert direct == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert render(messages, tokenize=False) == "<|im_start|>user\nHi<|im_end|>\n"


def test_the_template_drops_past_thoughts_and_takes_system_messages_and_parts(reasoner_tokenizer: Any) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "1 + "}, {"type": "text", "text": "1?"}]},
        {"role": "assistant", "content": "<think>\nOkay.\n\n</think>\n\n2"},
        {"role": "user", "content": "Sure?"},
    ]
    assert reasoner_tokenizer.apply_chat_template(messages, tokenize=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1 + 1?<|im_end|>\n"
        "<|im_start|>assistant\n2<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n"
    )


def test_the_template_tells_tools_their_calls_and_what_they_said(reasoner_tokenizer: Any) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    called = {"type": "function", "function": {"name": "add", "arguments": {"left": 1}}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": None, "tool_calls": [called, called]},
        {"role": "tool", "content": "2"},
    ]
    call = '<tool_call>\n{"name": "add", "arguments": {"left": 1}}\n</tool_call>'
    assert reasoner_tokenizer.apply_chat_template(messages, tools=[tool], tokenize=False) == (
        "<|im_start|>system\nBe brief.\n\nTools:\n"
        '{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}\n'
        'Call one with <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n1 + 1?<|im_end|>\n"
        f"<|im_start|>assistant\n{call}\n{call}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n2\n</tool_response><|im_end|>\n"
    )


def test_training_prompts_are_what_the_template_gives(reasoner_tokenizer: Any, encoder: Encoder) -> None:
    question = generate("words", np.random.default_rng(5)).question
    for thinking in (True, False):
        ids = reasoner_tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, enable_thinking=thinking
        )["input_ids"]
        assert encoder.prompt(question, thinking=thinking) == ids


def made_of(
    encoder: Encoder, family: str, rng: np.random.Generator, *, forks: int, split: str | None = None
) -> Example:
    return example(encoder, alone(encoder, generate(family, rng, split=split), rng), rng, forks=forks)


def test_an_empty_thought_is_followed_by_the_bare_answer(encoder: Encoder) -> None:
    rng = np.random.default_rng(2)
    problem = generate("recall", rng)
    made = example(encoder, direct(encoder, problem, rng), rng, forks=4)
    assert not made.forks
    text = encoder.text(list(made.tokens))
    assert text.endswith(f"<think>\n\n</think>\n\n{DIRECT}{problem.answer}}}{END}")


def test_a_thought_beyond_the_cap_is_cut_there_and_its_forks_still_tell_the_answer(encoder: Encoder) -> None:
    rng = np.random.default_rng(6)
    while True:
        problem = generate("countdown", rng, split="hard")
        asked = alone(encoder, problem, rng)
        if sum(len(encoder.ids(text)) for text, _ in asked.thought) > CAP:
            break
    made = example(encoder, asked, rng, forks=4)
    assert len(made.tokens) == len(asked.prompt) + CAP
    assert encoder.close not in made.tokens[len(asked.prompt) :]
    assert len(made.forks) >= 4
    assert {encoder.text(list(fork.tokens)) for fork in made.forks} == {closing(problem.answer)}


def test_a_fork_in_a_packed_row_computes_what_it_would_compute_alone(encoder: Encoder) -> None:
    rng = np.random.default_rng(11)
    examples = [made_of(encoder, family, rng, forks=5) for family in FAMILIES]
    rows = pack(examples, rows=1, length=sum(made.slots for made in examples) + 7, pad=encoder.pad)
    network = Network(TINY)
    network.initialise(torch.Generator().manual_seed(0))
    for name, weight in network.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.normal_(weight, std=0.2)
    trace, branch, positions, cut = (torch.from_numpy(a) for a in (rows.trace, rows.branch, rows.positions, rows.cut))
    with torch.inference_mode():
        packed = network(torch.from_numpy(rows.tokens), positions, visible(trace, branch, positions, cut))[0]
        for number in range(1, len(examples) + 1):
            made = next(e for e in examples if e.tokens[: e.slots] and _starts(rows, number) == e.tokens[:20])
            for index, fork in enumerate(made.forks, 1):
                alone = [*made.tokens[: fork.cut], *fork.tokens[:-1]]
                causal = torch.ones(1, len(alone), len(alone), dtype=torch.bool).tril()
                expected = network(torch.tensor([alone]), torch.arange(len(alone))[None], causal)[0, fork.cut :]
                here = (trace[0] == number) & (branch[0] == index)
                torch.testing.assert_close(packed[here], expected, atol=1e-4, rtol=1e-4)


def _starts(rows: Any, number: int) -> tuple[int, ...]:
    here = (rows.trace[0] == number) & (rows.branch[0] == 0)
    return tuple(int(token) for token in rows.tokens[0][here][:20])


def test_the_mask_lets_a_fork_see_its_prefix_and_nothing_else(encoder: Encoder) -> None:
    rng = np.random.default_rng(3)
    made = made_of(encoder, "highest", rng, forks=3, split="hard")
    rows = pack([made, made], rows=1, length=2 * made.slots, pad=encoder.pad)
    allowed = visible(rows.trace, rows.branch, rows.positions, rows.cut)[0]
    for index, fork in enumerate(made.forks, 1):
        first = np.flatnonzero((rows.trace[0] == 2) & (rows.branch[0] == index))[0]
        seen = np.flatnonzero(allowed[first])
        prefix = np.flatnonzero((rows.trace[0] == 2) & (rows.branch[0] == 0))[: fork.cut]
        assert seen.tolist() == [*prefix.tolist(), first]
        assert rows.positions[0, first] == fork.cut


def test_packing_leaves_nothing_out_where_there_is_room(encoder: Encoder) -> None:
    rng = np.random.default_rng(4)
    examples = [made_of(encoder, FAMILIES[number % 5], rng, forks=3) for number in range(12)]
    rows = pack(examples, rows=12, length=768, pad=encoder.pad)
    assert int((rows.trace > 0).sum()) == sum(made.slots for made in examples)
    learnt = sum(sum(made.weights) + sum(sum(fork.weights) for fork in made.forks) for made in examples)
    assert float(rows.weights.sum()) == pytest.approx(learnt)
