"""Written thoughts: right where they may be, wrong where told to, and mended."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.reasoner.packing import cuts, example
from models.reasoner.slips import invented, made
from models.reasoner.steps import LARGEST, OutOfRange, work
from models.reasoner.tasks import FAMILIES, Problem, generate, grade
from models.reasoner.tokenizer import Encoder, build_tokenizer
from models.reasoner.traces import CONCLUSION, EXIT, WrittenThought, write

families = st.sampled_from(FAMILIES)
seeds = st.integers(0, 2**32 - 1)


def written(family: str, seed: int) -> tuple[Problem, WrittenThought]:
    rng = np.random.default_rng(seed)
    problem = generate(family, rng)
    return problem, write(problem, rng)


def slipped(family: str, seed: int) -> tuple[Problem, dict[int, int], WrittenThought]:
    """A problem with a slip that leads somewhere; hypothesis is told where there is none."""
    rng = np.random.default_rng(seed)
    problem = generate(family, rng)
    slips = invented(problem, rng)
    assume(slips)
    try:
        return problem, slips, write(problem, rng, slips)
    except OutOfRange:
        assume(False)
        raise


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(build_tokenizer(seed=0, samples=400))


@given(families, seeds)
def test_every_equation_of_a_thought_is_right(family: str, seed: int) -> None:
    _, trace = written(family, seed)
    for left, right in re.findall(r"((?:\d+ [-+*] )+\d+) = (\d+)", trace.thought):
        assert eval(left) == int(right), f"{left} = {right}"
    for left, sign, right, result in re.findall(r"(\d+) ([-+*]) (\d+)(?: is|:.*?, so) (\d+)", trace.thought):
        exact = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[sign]
        assert exact % 100 == int(result)
    for left, sign, right in re.findall(r"(\d+) ([<>]) (\d+)", trace.thought):
        assert (int(left) > int(right)) is (sign == ">")
    for listed, best in re.findall(r"largest of ([\d, ]+)(?: is|:.*?, so) (\d+)", trace.thought):
        assert max(map(int, listed.split(", "))) == int(best)


@given(families, seeds)
def test_a_thought_says_its_result_then_checks_it_then_closes(family: str, seed: int) -> None:
    problem, trace = written(family, seed)
    assert all(text.endswith(".\n\n") and "\n" not in text[:-2] for text in trace.texts)
    concluded = [place for place, text in enumerate(trace.texts) if f"{CONCLUSION} {problem.answer}.\n\n" in text]
    assert len(concluded) == 1
    before, checks = trace.texts[: concluded[0] + 1], trace.texts[concluded[0] + 1 :]
    assert sum("Step " in text for text in before) == problem.operations
    assert checks
    assert all(text.endswith(f": same. The result is still {problem.answer}.\n\n") for text in checks)
    assert trace.completion == f"{trace.thought}{EXIT}{problem.answer}}}<|im_end|>"
    assert grade(trace.completion, problem)


@given(families, seeds)
def test_a_slip_stands_in_the_thought_until_a_check_mends_it(family: str, seed: int) -> None:
    problem, slips, trace = slipped(family, seed)
    assert trace.answer == problem.answer
    assert made(problem, trace.thought) == slips
    different = [place for place, text in enumerate(trace.texts) if ": different, so step" in text]
    assert len(different) == 1
    begun = next(place for place, text in enumerate(trace.texts) if f"Step {next(iter(slips)) + 1}: " in text)
    # until the check; where later steps had built on it, until they are worked again
    assert set(range(begun, different[0])) <= trace.mistaken <= set(range(begun, len(trace.texts) - 1))
    assert grade(trace.completion, problem)


@given(families, seeds)
def test_a_thought_without_a_slip_makes_none(family: str, seed: int) -> None:
    problem, trace = written(family, seed)
    assert made(problem, trace.thought) == {}
    assert not trace.mistaken


def test_a_slip_that_leads_out_of_the_numbers_is_refused() -> None:
    rng = np.random.default_rng(0)
    problem = next(p for _ in range(99) if (p := generate("vars", rng)).operations == 1 and "-" in p.question)
    with pytest.raises(OutOfRange, match=f"step 1 comes to {LARGEST + 1}, must be within 1 and {LARGEST}"):
        work(problem.steps, {0: LARGEST + 1})


@given(families, seeds)
def test_what_a_slip_puts_down_is_not_learnt_and_no_fork_leaves_while_it_stands(
    encoder: Encoder, family: str, seed: int
) -> None:
    problem, slips, trace = slipped(family, seed)
    made = example(encoder, problem, trace, np.random.default_rng(seed), forks=99)
    prompt = len(encoder.prompt(problem.question))
    assert made.tokens[prompt:] == tuple(encoder.ids(trace.completion))
    unlearnt = [token for token, weight in zip(made.tokens, made.weights, strict=True) if weight == 0][prompt:]
    assert encoder.text(unlearnt) == f" {next(iter(slips.values()))}"
    ends = [place + 1 for place, token in enumerate(made.tokens) if token == encoder.blank_line and place >= prompt]
    honest = [end for paragraph, end in enumerate(ends[: len(trace.texts)]) if paragraph not in trace.mistaken]
    assert [fork.cut for fork in made.forks] == honest


@given(families, seeds)
def test_forks_leave_a_plain_thought_at_paragraph_ends_and_now_and_then_elsewhere(
    encoder: Encoder, family: str, seed: int
) -> None:
    problem, trace = written(family, seed)
    prompt = encoder.prompt(problem.question)
    tokens = [*prompt, *encoder.ids(trace.completion)]
    found = cuts(tokens, len(prompt), encoder, np.random.default_rng(seed), 3)
    ends = [place for place in found if tokens[place - 1] == encoder.blank_line]
    assert len(ends) >= min(3, len(trace.texts))
    assert len(found) - len(ends) <= 1
    assert all(len(prompt) <= place <= tokens.index(encoder.close, len(prompt)) for place in found)
