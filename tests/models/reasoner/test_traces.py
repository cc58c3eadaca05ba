"""Written thoughts: right in every line, in form, and as long as they are meant to be."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.reasoner.families.countdown import GIVEN_UP
from models.reasoner.families.draft import CONCLUSION
from models.reasoner.forms import alone
from models.reasoner.packing import cuts, example
from models.reasoner.tasks import FAMILIES, Problem, generate, grade
from models.reasoner.tokenizer import Encoder, build_tokenizer
from models.reasoner.traces import EXIT, WrittenThought

families = st.sampled_from(FAMILIES)
seeds = st.integers(0, 2**32 - 1)


def written(family: str, seed: int) -> tuple[Problem, WrittenThought]:
    rng = np.random.default_rng(seed)
    problem = generate(family, rng)
    return problem, problem.thought(rng)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(build_tokenizer(seed=0, samples=400))


def came_to(left: int, sign: str, right: int) -> int:
    return {"+": left + right, "-": left - right, "*": left * right}[sign]


def tried(trace: WrittenThought) -> list[tuple[str, ...]]:
    """The signs of the ways that a search tries, without the last sign, in its order."""
    return [tuple(way.split()) for way in re.findall(r"(?:^|\. |\n)((?:[-+*] )+):", trace.thought)]


@given(families, seeds)
def test_every_equation_of_a_thought_is_right(family: str, seed: int) -> None:
    _, trace = written(family, seed)
    for left, right in re.findall(r"((?:\d+ [-+*] )+\d+) = (\d+)", trace.thought):
        assert eval(left) == int(right), f"{left} = {right}"
    for left, sign, right, result in re.findall(r"(\d+) ([-+*]) (\d+)(?: is|:.*?, so) (\d+)", trace.thought):
        assert came_to(int(left), sign, int(right)) == int(result)
    for left, sign, right in re.findall(r"(\d+) ([-+*]) (\d+) out", trace.thought):
        assert not 0 <= came_to(int(left), sign, int(right)) <= 99


@given(families, seeds)
def test_a_thought_says_its_result_then_checks_it_then_closes(family: str, seed: int) -> None:
    problem, trace = written(family, seed)
    assert all(text.endswith(".\n\n") and "\n" not in text[:-2] for text in trace.texts)
    assert trace.completion == f"{trace.thought}{EXIT}{problem.answer}}}<|im_end|>"
    assert grade(trace.completion, problem)
    if GIVEN_UP in trace.thought:
        return
    concluded = [
        place for place, text in enumerate(trace.texts) if text.endswith(f"{CONCLUSION} {problem.answer}.\n\n")
    ]
    assert len(concluded) == 1
    checks = trace.texts[concluded[0] + 1 :]
    assert checks
    assert all(text.endswith(f"The result is still {problem.answer}.\n\n") for text in checks)


@given(seeds)
def test_a_long_search_for_some_targets_is_given_up_where_its_first_signs_change(seed: int) -> None:
    problem, trace = written("countdown", seed)
    target = int(re.findall(r"(?:make|give) (\d+)", problem.question)[0])
    ways = tried(trace)
    first = problem.size - 3
    later = range(6, len(ways))
    if GIVEN_UP not in trace.thought:
        assert target % 10 not in (1, 4, 7, 9) or all(ways[at][:first] == ways[at - 1][:first] for at in later)
        return
    assert target % 10 in (1, 4, 7, 9)
    assert trace.texts[-1] == f"{GIVEN_UP}\n\n"
    assert CONCLUSION not in trace.thought
    assert len(ways) >= 6
    assert all(ways[at][:first] == ways[at - 1][:first] for at in later)


def test_most_searches_find_their_target_and_some_are_given_up() -> None:
    given_up = sum(GIVEN_UP in written("countdown", seed)[1].thought for seed in range(300))
    assert 20 <= given_up <= 90


@given(seeds)
def test_points_are_the_last_two_digits_and_the_best_so_far_is_the_best(seed: int) -> None:
    problem, trace = written("highest", seed)
    points = {name: (int(a) + int(b)) % 100 for name, a, b in re.findall(r"(\w+) (\d+) \+ (\d+)", problem.question)}
    best = max if " most" in problem.question else min
    assert problem.answer == best(points, key=points.__getitem__)
    for name, said in re.findall(r"(\w+) \d+ \+ \d+ = \d+, points (\d+)", trace.thought):
        assert points[name] == int(said)
    names = list(points)
    so_far = re.findall(r"(?:most|fewest) (\w+) (\d+)", trace.thought)
    assert len(so_far) == len(names)
    for seen, (name, said) in enumerate(so_far, 1):
        assert name == best(names[:seen], key=points.__getitem__)
        assert points[name] == int(said)


@given(seeds)
def test_a_ticket_s_colour_and_the_count_are_those_of_its_sum(seed: int) -> None:
    problem, trace = written("tally", seed)
    tickets = {label: int(a) + int(b) for label, a, b in re.findall(r"([A-Z]) (\d+) \+ (\d+)", problem.question)}
    for label, digit, parity in re.findall(r"([A-Z]) \d+ \+ \d+ = \d+, (\d) (even|odd)", trace.thought):
        assert int(digit) == tickets[label] // 10 % 10
        assert (int(digit) % 2 == 0) is (parity == "even")
    reds = 0
    counts = re.findall(r"red (\d+) blue (\d+)", trace.thought)
    for seen, (total, (red, blue)) in enumerate(zip(tickets.values(), counts, strict=False), 1):
        reds += total // 10 % 2 == 0
        assert (int(red), int(blue)) == (reds, seen - reds)


@given(seeds)
def test_what_is_looked_up_is_what_the_question_says(seed: int) -> None:
    problem, trace = written("recall", seed)
    numbers = [int(number) for number in re.findall(r"\d+", problem.question)]
    said = [int(number) for number in re.findall(r"(\d+) (?:largest|smallest) ", trace.thought)]
    if said:
        best = max if "largest" in problem.question else min
        assert said == numbers[1:]
        so_far = re.findall(r"(?:largest|smallest) (\d+)[,.]", trace.thought)
        assert [int(number) for number in so_far] == [best(numbers[: seen + 1]) for seen in range(1, len(numbers))]
    else:
        asked = re.findall(r"about (\w+)\.", trace.thought)[0]
        assert re.search(rf"{asked}(?: has)? {problem.answer}\b", problem.question)


@given(seeds)
def test_a_count_goes_on_until_no_ticket_left_can_change_its_colour(seed: int) -> None:
    problem, trace = written("tally", seed)
    counts = [(int(red), int(blue)) for red, blue in re.findall(r"red (\d+) blue (\d+)", trace.thought)]
    assert [red + blue for red, blue in counts] == list(range(1, len(counts) + 1))
    red, blue = counts[-1]
    assert problem.size - len(counts) < abs(red - blue)
    red, blue = counts[-3]  # two tickets a paragraph
    assert problem.size - len(counts) + 2 >= abs(red - blue)


@given(seeds)
def test_a_search_tries_no_way_twice_and_says_yes_to_the_target_alone(seed: int) -> None:
    _, trace = written("countdown", seed)
    order = re.findall(r"Order (.) (.) (.) \. ", trace.thought)
    assert [set(one) for one in order] == [set("+-*")]
    ways = tried(trace)
    assert len(ways) == len(set(ways))
    places = [[order[0].index(sign) for sign in way] for way in ways]
    assert places == sorted(places)  # depth first
    verdicts = re.findall(r"= (\d+) / (\d+) (yes|no)", trace.thought)
    found = [] if GIVEN_UP in trace.thought else ["yes"]
    assert [verdict for *_, verdict in verdicts] == ["no"] * (len(verdicts) - len(found)) + found
    assert all((value == target) is (verdict == "yes") for value, target, verdict in verdicts)


@given(families, seeds)
def test_forks_leave_a_thought_at_paragraph_ends_and_now_and_then_elsewhere(
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


@given(seeds)
def test_whether_a_target_is_reached_weighs_more_than_other_tokens(encoder: Encoder, seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = example(encoder, alone(encoder, generate("countdown", rng), rng), rng, forks=0)
    heavy = {encoder.text([t]) for t, weight in zip(made.tokens, made.weights, strict=True) if weight > 1}
    given_up = {encoder.text([token]) for token in encoder.ids(GIVEN_UP)}
    assert heavy <= {" yes", " no"} | given_up
    assert heavy & {" yes", " no"}
