"""Problems, grader and traces of the bundled reasoner."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.reasoner.families import words
from models.reasoner.families.draft import Draft
from models.reasoner.tasks import FAMILIES, SIZES, SPLITS, Problem, generate, grade, held_out

families = st.sampled_from(FAMILIES)
splits = st.sampled_from(SPLITS)
seeds = st.integers(0, 2**32 - 1)


def drawn(family: str, seed: int, split: str | None = None) -> Problem:
    return generate(family, np.random.default_rng(seed), split=split)


@given(families, splits, seeds)
def test_a_seed_gives_the_same_problem_again(family: str, split: str, seed: int) -> None:
    assert drawn(family, seed, split) == drawn(family, seed, split)


@given(families, splits, seeds)
def test_the_size_of_a_problem_is_one_of_its_split(family: str, split: str, seed: int) -> None:
    problem = drawn(family, seed, split)
    assert problem.split == split
    assert problem.size in SIZES[family][split]


@given(families, seeds, st.booleans())
def test_training_and_held_out_problems_never_meet(family: str, seed: int, from_held_out: bool) -> None:
    problem = generate(family, np.random.default_rng(seed), from_held_out=from_held_out)
    assert held_out(problem.question) is from_held_out


def test_about_one_question_in_eight_is_held_out() -> None:
    share = np.mean([held_out(f"question {number}") for number in range(4000)])
    assert 0.10 < share < 0.15


def test_unknown_names_are_refused_with_what_is_known() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="'sums': expected one of recall, words, tally, highest, countdown"):
        generate("sums", rng)
    with pytest.raises(ValueError, match="'huge': expected one of easy, medium, hard"):
        generate("tally", rng, split="huge")


@given(seeds)
def test_recall_questions_have_the_answer_that_stands_in_the_prompt(seed: int) -> None:
    problem = drawn("recall", seed)
    numbers = [int(number) for number in re.findall(r"\d+", problem.question)]
    assert len(numbers) == len(set(numbers)) == problem.size
    if "largest" in problem.question or "smallest" in problem.question:
        assert problem.answer == str(max(numbers) if "largest" in problem.question else min(numbers))
    else:
        asked = re.findall(r"(?:does |of [a-z]+ )([A-Z][a-z]+) (?:has|have)", problem.question)[-1]
        has = dict(re.findall(r"([A-Z][a-z]+) (?:has )?(\d+)", problem.question))
        assert problem.answer == has[asked]


@given(seeds)
def test_words_questions_have_the_answer_that_following_the_story_gives(seed: int) -> None:
    problem = drawn("words", seed)
    *sentences, asked = problem.question.split(". ")
    compared = asked.startswith("Who")
    bound = int(re.findall(r"\d+", sentences.pop(0))[0]) if compared else 0
    name, value, things = re.fullmatch(r"(\w+) has (\d+) (\w+)", sentences[0]).groups()  # type: ignore[union-attr]
    value, changes = int(value), 0
    for sentence in sentences[1:]:
        who = re.search(rf"\b{name}\b", sentence)
        number = int(re.findall(r"\d+", sentence)[0])
        if who is None or "also has" in sentence or "years old" in sentence:
            continue  # it does not matter
        if sentence.endswith("times as many"):
            value *= number
        elif re.match(rf"{name} (buys|finds|gets|wins) ", sentence):
            value += number
        else:
            assert re.match(rf"{name} (gives|loses|sells|uses) ", sentence)
            value -= number
        changes += 1
    assert changes == problem.size
    if compared:
        first, second = re.findall(r"[A-Z][a-z]+", asked.removeprefix("Who"))
        rival = second if first == name else first
        assert value != bound
        assert problem.answer == (name if value > bound else rival)
    else:
        assert name in asked
        assert things in asked
        assert problem.answer == str(value)


@pytest.mark.slow
def test_a_quarter_of_the_stories_ends_in_a_comparison_that_its_bound_does_not_give_away() -> None:
    rng = np.random.default_rng(3)
    drafts = [words.draw(rng, size) for size in (2, 3, 4, 5) for _ in range(1500)]
    compared = [draft for draft in drafts if "Who has more" in draft.question]
    assert 0.22 < len(compared) / len(drafts) < 0.28

    def bound_wins(draft: Draft) -> bool:
        return draft.answer == draft.question.split(" ")[0]

    bounds = [int(re.findall(r"\d+", draft.question)[0]) for draft in compared]
    for low, high in ((4, 30), (30, 65), (65, 97)):
        wins = np.mean([bound_wins(d) for d, bound in zip(compared, bounds, strict=True) if low <= bound < high])
        assert 0.2 < wins < 0.8


@given(seeds)
def test_tally_questions_have_the_answer_that_counting_gives(seed: int) -> None:
    problem = drawn("tally", seed)
    sums = [int(left) + int(right) for left, right in re.findall(r"(\d+) \+ (\d+)", problem.question)]
    assert len(sums) == problem.size
    assert problem.size % 2
    red = sum(total // 10 % 10 in (0, 2, 4, 6, 8) for total in sums)
    assert problem.answer == ("red" if 2 * red > len(sums) else "blue")


@given(seeds)
def test_highest_questions_have_the_answer_that_sorting_gives(seed: int) -> None:
    problem = drawn("highest", seed)
    points = {name: (int(a) + int(b)) % 100 for name, a, b in re.findall(r"(\w+) (\d+) \+ (\d+)", problem.question)}
    assert len(points) == len(set(points.values())) == problem.size
    ordered = sorted(points, key=points.__getitem__, reverse="fewest" not in problem.question)
    assert problem.answer == ordered[0]


@given(seeds)
def test_countdown_questions_have_one_answer_alone_and_no_value_on_its_way_is_out(seed: int) -> None:
    problem = drawn("countdown", seed)
    *numbers, target = [int(number) for number in re.findall(r"\d+", problem.question)]
    assert len(numbers) == problem.size + 1

    def worked(signs: tuple[str, ...]) -> int | None:
        value = numbers[0]
        for sign, right in zip(signs, numbers[1:], strict=True):
            value = {"+": value + right, "-": value - right, "*": value * right}[sign]
            if not 0 <= value <= 99:
                return None
        return value

    solutions = [signs for signs in product("+-*", repeat=problem.size) if worked(signs) == target]
    assert [problem.answer] == [" ".join(signs) for signs in solutions]


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


def test_signs_are_graded_whatever_the_blanks_between_them(forty_seven: Problem) -> None:
    signs = replace(forty_seven, answer="+ - *")
    assert grade(r"\boxed{+ - *}", signs)
    assert grade(r"\boxed{+-*}", signs)
    assert not grade(r"\boxed{+ * -}", signs)


@pytest.fixture
def forty_seven() -> Problem:
    return replace(generate("recall", np.random.default_rng(0)), answer="47")
