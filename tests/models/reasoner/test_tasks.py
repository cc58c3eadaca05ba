"""Problems, grader and traces of the bundled reasoner."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.reasoner.steps import Comparison, work
from models.reasoner.tasks import FAMILIES, OPERATIONS, SPLITS, Problem, generate, grade, held_out

families = st.sampled_from(FAMILIES)
splits = st.sampled_from(SPLITS)
seeds = st.integers(0, 2**32 - 1)


def drawn(family: str, seed: int, split: str | None = None) -> Problem:
    return generate(family, np.random.default_rng(seed), split=split)


@given(families, splits, seeds)
def test_a_seed_gives_the_same_problem_again(family: str, split: str, seed: int) -> None:
    assert drawn(family, seed, split) == drawn(family, seed, split)


@given(families, splits, seeds)
def test_difficulty_is_the_number_of_operations(family: str, split: str, seed: int) -> None:
    problem = drawn(family, seed, split)
    low, high = OPERATIONS[family][split]
    assert problem.split == split
    assert low <= problem.operations == len(problem.steps) <= high


@given(families, seeds, st.booleans())
def test_training_and_held_out_problems_never_meet(family: str, seed: int, from_held_out: bool) -> None:
    problem = generate(family, np.random.default_rng(seed), from_held_out=from_held_out)
    assert held_out(problem.question) is from_held_out


def test_about_one_question_in_eight_is_held_out() -> None:
    share = np.mean([held_out(f"question {number}") for number in range(4000)])
    assert 0.10 < share < 0.15


def test_unknown_names_are_refused_with_what_is_known() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="'sums': expected one of arith, words, lists, vars"):
        generate("sums", rng)
    with pytest.raises(ValueError, match="'huge': expected one of easy, medium, hard"):
        generate("arith", rng, split="huge")


@given(seeds)
def test_arith_questions_have_the_answer_that_python_computes(seed: int) -> None:
    problem = drawn("arith", seed)
    asked, compared, bound = problem.question.partition(" Is it greater than ")
    value = int(re.findall(r"\d+", problem.opening)[0])
    if asked.startswith("Compute"):
        operations = re.findall(r"([-+*]) (\d+)", asked)
    else:
        words = re.findall(r"(add|subtract|multiply by) (\d+)", asked)
        operations = [({"add": "+", "subtract": "-", "multiply by": "*"}[word], number) for word, number in words]
    assert len(operations) + bool(compared) == problem.operations
    for sign, number in operations:
        right = int(number)
        value = {"+": value + right, "-": value - right, "*": value * right}[sign] % 100
    if compared:
        assert problem.answer == ("yes" if value > int(bound.split(",")[0]) else "no")
    else:
        assert problem.answer == str(value)


@given(seeds)
def test_words_questions_have_the_answer_that_following_the_story_gives(seed: int) -> None:
    problem = drawn("words", seed)
    first, *events, asked = problem.question.split(". ")
    numbers = [int(number) for number in re.findall(r"\d+", first)]
    rival = first.split(" ")[0] if " and " in first else None
    bound = numbers.pop(0) if rival else None
    value = numbers[0] * numbers[1] if "boxes" in first else numbers[0]
    for event in events:
        number = int(re.findall(r"\d+", event)[0])
        if "times" in event:
            value *= number
        elif any(verb in event for verb in (" buys ", " finds ", " gets ", " wins ")):
            value += number
        else:
            assert any(verb in event for verb in (" gives ", " loses ", " sells ", " uses "))
            value -= number
    if rival is None or bound is None:
        assert problem.answer == str(value)
    else:
        owner = problem.opening.split(" ")[0]
        assert {owner, rival} == set(re.findall(r"[A-Z][a-z]+", asked)) - {"Who"}
        assert problem.answer == (owner if value > bound else rival)


@pytest.mark.slow
def test_three_in_ten_arith_and_words_end_in_a_comparison_that_its_bound_does_not_give_away() -> None:
    rng = np.random.default_rng(3)
    for family in ("arith", "words"):
        problems = [generate(family, rng) for _ in range(3000)]
        compared = [problem for problem in problems if isinstance(problem.steps[-1], Comparison)]
        assert 0.27 < len(compared) / len(problems) < 0.33
        last = [(work(p.steps)[-1].numbers, p.steps[-1]) for p in compared]
        assert all(left != right for (left, right), _ in last)
        for low, high in ((4, 30), (30, 65), (65, 97)):
            over = np.mean([left > right for (left, right), _ in last if low <= right < high])
            assert 0.2 < over < 0.8


@given(seeds)
def test_lists_questions_have_the_answer_that_sorting_gives(seed: int) -> None:
    problem = drawn("lists", seed)
    ordered = sorted(map(int, re.findall(r"\d+", problem.question)), reverse="smallest" not in problem.question)
    if "difference" in problem.question:
        expected = max(ordered) - min(ordered)
    elif "sum" in problem.question:
        expected = sum(ordered[: 2 if "two" in problem.question else 3])
    else:
        rank = next((r for r, word in enumerate(("second", "third", "fourth"), 1) if word in problem.question), 0)
        expected = ordered[rank]
    assert str(expected) == problem.answer


@given(seeds)
def test_vars_questions_have_the_answer_that_python_computes_once_the_lines_are_ordered(seed: int) -> None:
    problem = drawn("vars", seed)
    lines = dict(re.findall(r"\b([a-z]) = ([a-z0-9]+(?: [-+*] [a-z0-9]+)?)", problem.question))
    asked = re.findall(r"(?:is|of|Find) (?:the value of )?([a-z])\b(?! =)", problem.question)[-1]

    def value(term: str) -> int:
        if term.isdigit():
            return int(term)
        return eval(" ".join(str(value(part)) if part.isalnum() else part for part in lines[term].split()))

    assert str(value(asked)) == problem.answer


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{47}",
        r"**Final Answer**" + "\n" + r"\boxed{ 47 }<|im_end|>",
        r"\boxed{12} no, rather \boxed{47}.",
        r"<think>\boxed{3}</think>\boxed{47}",
        r"$\boxed{47.0}$",
        r"\boxed{047}",
        r"\boxed{$47$}",
    ],
)
def test_a_right_answer_is_recognised_in_its_spellings(text: str, forty_seven: Problem) -> None:
    assert grade(text, forty_seven)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "47",
        r"\boxed{47",
        r"\boxed{}",
        r"\boxed{-47}",
        r"\boxed{4 8}",
        r"\boxed{47} or \boxed{48}",
        r"\boxed{x}",
        r"<think>\boxed{47}</think>I do not know",
        r"\boxed{47.5}",
        r"\boxed{²}",
    ],
)
def test_anything_else_is_graded_wrong(text: str, forty_seven: Problem) -> None:
    assert not grade(text, forty_seven)


def test_an_answer_in_words_is_graded_whatever_its_case(forty_seven: Problem) -> None:
    yes = replace(forty_seven, answer="yes")
    assert grade(r"\boxed{Yes}", yes)
    assert grade(r"\boxed{yes.}", yes)
    assert not grade(r"\boxed{no}", yes)


@pytest.fixture
def forty_seven() -> Problem:
    return Problem(family="arith", question="?", answer="47", split="easy", opening="Start with 47.", steps=())
