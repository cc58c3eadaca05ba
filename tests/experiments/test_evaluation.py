"""Evaluation: its statistics against direct definitions, and a real pass of the bundled model."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.load import load_model
from engine.torch_engine import TorchEngine
from experiments.evaluation import Asked, Question, Record, at_threshold, auroc, evaluation_loop, interval, record
from experiments.questions import bundled_questions
from models.chat_model import load_chat_model
from models.reasoner import bundled_model
from models.reasoner.tasks import held_out


def asked(confidence: float, *, right: bool, thought_tokens: int = 10) -> Asked:
    return Asked(thought_tokens=thought_tokens, confidence=confidence, right=right, beyond=3, rows=5)


def recorded(*probes: Asked, right: bool = True, tokens: int = 100) -> Record:
    question = Question(text="?", family="any", split="easy", grade=lambda _: right)
    return Record(question=question, right=right, tokens=tokens, rows=tokens, ended=True, probes=probes)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=30))
def test_auroc_is_the_share_of_right_wrong_pairs_that_are_ordered(pairs: list[tuple[float, bool]]) -> None:
    rights = [c for c, right in pairs if right]
    wrongs = [c for c, right in pairs if not right]
    found = auroc(asked(c, right=right) for c, right in pairs)
    if not rights or not wrongs:
        assert math.isnan(found)
        return
    wins = sum((a > b) + 0.5 * (a == b) for a in rights for b in wrongs)
    assert found == pytest.approx(wins / (len(rights) * len(wrongs)))


def test_a_threshold_exits_at_the_first_confident_probe_and_pays_for_all_probes_up_to_it() -> None:
    one = recorded(
        asked(0.3, right=False, thought_tokens=20), asked(0.8, right=False, thought_tokens=40), asked(0.99, right=True)
    )
    point = at_threshold([one], 0.8)
    assert (point.accuracy, point.tokens, point.exits) == (0.0, 40 + 3 + 2 * 5 + 2, 1.0)
    assert point.saved == pytest.approx(0.45)


def test_a_threshold_that_no_probe_reaches_costs_the_full_thought_and_its_probes() -> None:
    point = at_threshold([recorded(asked(0.3, right=False), asked(0.8, right=False))], 0.95)
    assert (point.accuracy, point.tokens, point.exits) == (1.0, 110.0, 0.0)
    assert point.saved == pytest.approx(-0.1)


def test_the_interval_of_a_proportion_is_wilsons() -> None:
    low, high = interval(81, 263)  # Newcombe 1998, table I, example (a)
    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_evaluation_questions_are_distinct_held_out_and_the_same_for_a_seed() -> None:
    questions = bundled_questions(20, seed=3)
    texts = [question.text for question in questions]
    assert len(set(texts)) == len(texts) == 60
    assert all(held_out(text) for text in texts)
    assert texts == [question.text for question in bundled_questions(20, seed=3)]


def test_the_bundled_model_is_recorded_through_the_engine_with_all_its_probes() -> None:
    chat = load_chat_model(bundled_model())
    loop = evaluation_loop(TorchEngine(load_model(bundled_model())), chat)
    records = record(loop, chat, bundled_questions(4, seed=5), max_tokens=640)
    assert len(records) == 12
    assert all(one.ended and one.probes for one in records)
    assert all(0.0 <= probe.confidence <= 1.0 for one in records for probe in one.probes)
    assert sum(one.right for one in records) >= 9
    full = sum(one.tokens for one in records)
    told = at_threshold(records, 0.9)
    assert told.tokens * len(records) < full
    served = record(
        evaluation_loop(TorchEngine(load_model(bundled_model())), chat, 0.9),
        chat,
        bundled_questions(4, seed=5),
        max_tokens=640,
    )
    assert sum(one.right for one in served) / len(served) == pytest.approx(told.accuracy, abs=0.1)
    assert sum(one.rows for one in served) / len(served) == pytest.approx(told.tokens, rel=0.1)
