"""Prompts of our own, the classifier that learns from them, and the count of exits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.kinds.grammar import fill, pools, templates
from benchmarks.kinds.held_out import handwritten
from benchmarks.kinds.mixed import decided, mixed
from benchmarks.kinds.train import fold, learn, mistakable, prompts
from models.kinds.kind import AnswerKind
from models.kinds.reading import KindReader


def test_a_template_is_filled_and_its_ways_are_taken() -> None:
    rng, slots = np.random.default_rng(0), {"who": ("Ann", "Bob")}
    found = {fill("{who} (is (very |)tall|runs)", slots, rng) for _ in range(200)}
    assert found == {f"{who} {does}" for who in ("Ann", "Bob") for does in ("is very tall", "is tall", "runs")}


def test_every_template_can_be_filled() -> None:
    rng, slots = np.random.default_rng(0), pools()
    for name in (*AnswerKind, "systems"):
        for template in templates(name):
            filled = fill(template, slots, rng)
            assert filled.strip()
            assert "|" not in filled


def test_the_classifier_learns_and_abstains() -> None:
    found = prompts(60, 0)
    seen = [prompt for prompt in found if fold(prompt.template) != 0]
    assert 0.6 < len(seen) / len(found) < 0.95
    weights = replace(learn(seen, 1e-4), sure=0.5)
    told = [(prompt.kind, weights.kind(prompt.said.asked)) for prompt in seen]
    assert sum(kind is read for kind, read in told) > 0.7 * len(told)
    shares = mistakable(weights, [prompt for prompt in found if fold(prompt.template) == 0])
    assert sum(share < 0.5 for share in shares) > 0.7 * len(shares) > 0
    assert weights.kind("zx qv") is None


def test_no_hand_written_prompt_that_wants_more_is_tried() -> None:
    reader = KindReader.shipped()
    others = [
        prompt for seen in (True, False) for prompt in handwritten(seen=seen) if prompt.kind is not AnswerKind.SHORT
    ]
    assert [prompt.said.asked for prompt in others if reader.read(prompt.said).kind is AnswerKind.SHORT] == []


def test_trial_answers_become_replies_of_short_questions_alone() -> None:
    found = decided(mixed(80, 3))
    assert found["bundled questions"].exits == found["bundled questions"].requests == 20
    assert sum(one.wrong for one in found.values()) == 0
    assert sum(one.probed for name, one in found.items() if name != "bundled questions") == 0
