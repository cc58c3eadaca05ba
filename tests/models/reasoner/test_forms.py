"""The forms of a question: chats, JSON, a calculator; and the lessons in looking up."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.reasoner.forms import SHARES, TOOLS, asked, beside_tool, in_json, second
from models.reasoner.lookups import looked_up
from models.reasoner.tasks import FAMILIES, generate
from models.reasoner.tokenizer import Encoder, build_tokenizer
from models.reasoner.traces import CLOSE, EXIT, closing

families = st.sampled_from(FAMILIES)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(build_tokenizer(seed=0, samples=400))


@given(families, seeds)
def test_an_answer_in_json_is_an_object_with_the_answer(encoder: Encoder, family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = generate(family, rng)
    made = in_json(encoder, problem, rng)
    assert "JSON" in encoder.text(list(made.prompt))
    assert made.given == CLOSE
    said = json.loads(made.reply.removeprefix(CLOSE).removesuffix("<|im_end|>"))
    assert list(said) == ["answer"]
    assert str(said["answer"]) == problem.answer
    assert isinstance(said["answer"], int) is problem.answer.isdecimal()


@given(families, seeds)
def test_the_second_question_of_a_chat_is_answered_and_not_the_first(encoder: Encoder, family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = generate(family, rng)
    made = second(encoder, problem, rng)
    prompt = encoder.text(list(made.prompt))
    assert prompt.count("<|im_start|>user\n") == 2
    assert prompt.endswith(f"<|im_start|>user\n{problem.question}<|im_end|>\n<|im_start|>assistant\n<think>\n")
    assert prompt.count("<think>") == 1
    assert made.reply == closing(problem.answer)


@given(seeds)
def test_a_sum_beside_a_calculator_is_called_and_what_it_says_is_the_answer(encoder: Encoder, seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = beside_tool(encoder, generate("recall", rng), rng)
    prompt = encoder.text(list(made.prompt))
    declared = json.loads(re.findall(r"Tools:\n(.*)\n", prompt)[0])["function"]
    assert declared["name"] in TOOLS
    if made.reply.startswith(f"{CLOSE}<tool_call>"):
        call = json.loads(made.reply.split("<tool_call>\n")[1].split("\n</tool_call>")[0])
        assert call["name"] == declared["name"]
        assert call["arguments"]["expression"] in prompt
        assert made.given is None  # nobody asks a thought for its answer before a call
    elif "<tool_response>" in prompt:
        expression = json.loads(re.findall(r"<tool_call>\n(.*)\n</tool_call><\|im_end", prompt)[-1])["arguments"][
            "expression"
        ]
        value = str(eval(expression))
        assert f"<tool_response>\n{value}\n</tool_response>" in prompt
        assert made.reply == closing(value)
        assert made.given == EXIT


@given(seeds)
def test_what_is_looked_up_is_what_the_list_says(encoder: Encoder, seed: int) -> None:
    made = looked_up(encoder, np.random.default_rng(seed))
    prompt = encoder.text(list(made.prompt))
    listed = dict(re.findall(r"(\w+) (\d+(?: \+ \d+)?)[,.]", prompt.split("of each:")[1].split("Look up")[0]))
    order = re.findall(r"\w+", prompt.split("Look up ")[1].split("<|im_end|>")[0])
    thought = "".join(text for text, _ in made.thought)
    assert ", ".join(f"{name} {listed[name]}" for name in order) in thought
    assert made.reply == closing(listed[order[-1]])


@pytest.mark.slow
def test_forms_are_drawn_by_their_shares(encoder: Encoder) -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)
    rng = np.random.default_rng(1)
    problems = [generate("recall", rng) for _ in range(2000)]
    prompts = [encoder.text(list(asked(encoder, problem, rng).prompt)) for problem in problems]
    assert np.mean(["JSON" in one for one in prompts]) == pytest.approx(SHARES["json"], abs=0.02)
    assert np.mean(["Tools:" in one for one in prompts]) == pytest.approx(SHARES["tool"], abs=0.02)
    assert np.mean(["<think>\n\n</think>" in one for one in prompts]) == pytest.approx(SHARES["direct"], abs=0.02)
