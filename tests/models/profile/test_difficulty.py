"""Difficulty told from the prompt alone."""

from __future__ import annotations

import numpy as np
import pytest

from models.profile.difficulty import CLASSES, FEATURES, Difficulty, learn


def prompts(count: int, seed: int, noise: float = 0.1) -> tuple[list[list[int]], list[int]]:
    """Prompts in which every token 7 asks for about 20 more tokens of thought."""
    rng = np.random.default_rng(seed)
    made, lengths = [], []
    for _ in range(count):
        asked = int(rng.integers(1, 9))
        prompt = [7] * asked + [int(token) for token in rng.integers(10, 60, size=12)]
        rng.shuffle(prompt)
        made.append(prompt)
        lengths.append(int(20 * asked * rng.lognormal(0.0, noise)) + 1)
    return made, lengths


def test_longer_thoughts_are_foreseen_on_prompts_that_were_not_learnt_from() -> None:
    learned = learn(*prompts(600, seed=1))
    fresh, lengths = prompts(300, seed=2)
    expected = [learned.difficulty.expected_tokens(prompt) for prompt in fresh]
    assert np.corrcoef(np.log(expected), np.log(lengths))[0, 1] > 0.9
    by_class = {
        name: [n for p, n in zip(fresh, lengths, strict=True) if learned.difficulty.classify(p) == name]
        for name in CLASSES
    }
    means = [np.mean(by_class[name]) for name in CLASSES]
    assert means[0] < means[1] < means[2]


def test_what_it_is_worth_is_told_from_prompts_that_it_had_not_seen() -> None:
    learned = learn(*prompts(600, seed=1))
    assert learned.explained > 0.7
    assert sum(map(sum, learned.confusion)) == len(learned.observed) == 600
    assert sum(learned.confusion[i][i] for i in range(3)) > 400
    assert [learned.observed.count(name) for name in CLASSES] == [200, 200, 200]


def test_lengths_that_have_nothing_to_do_with_the_prompt_are_not_foreseen() -> None:
    rng = np.random.default_rng(3)
    learned = learn(prompts(400, seed=3)[0], [int(n) for n in rng.integers(10, 500, size=400)])
    assert learned.explained < 0.1


def test_the_same_prompts_give_the_same_classifier() -> None:
    assert learn(*prompts(100, seed=4)) == learn(*prompts(100, seed=4))


def test_too_few_prompts_and_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="12 prompts to learn difficulty from, must be at least 30"):
        learn(*prompts(12, seed=1))
    with pytest.raises(ValueError, match="the shortest thought has 0 tokens"):
        learn(prompts(40, seed=1)[0], [0] * 40)
    with pytest.raises(ValueError, match=f"weights has 1 values, must have {2 * FEATURES + 2}"):
        Difficulty(weights=(1.0,), bounds=(0.0, 1.0))
    with pytest.raises(ValueError, match="must not fall"):
        Difficulty(weights=(0.0,) * (2 * FEATURES + 2), bounds=(1.0, 0.0))


def test_an_empty_prompt_has_a_class_too() -> None:
    learned = learn(*prompts(60, seed=5))
    assert learned.difficulty.classify([]) in CLASSES
