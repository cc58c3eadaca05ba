"""Answers to random schemas validate, whatever a model draws, and whatever a real server does with their thoughts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from benchmarks.structured.schemas import SchemaSource
from benchmarks.structured.validity import Draws, StructuredRequest, Tally, turn
from benchmarks.support import report
from experiments.evaluation.questions import bundled_questions
from models.chat_model import load_chat_model
from models.grammar.grammar import Grammar
from models.reasoner import bundled_model
from tests.support.grammar_walks import walk


@pytest.mark.slow
def test_whatever_a_model_draws_validates_in_any_room() -> None:
    chat = load_chat_model(bundled_model())
    grammars, source, rng = chat.grammars(), SchemaSource(11), np.random.default_rng(11)
    for _ in range(40):
        schema = source.draw()
        grammar = grammars.compiled(Grammar.json_schema(schema, asked_by="schema"))
        assert grammar.shortest is not None, schema
        for spare in (0, int(rng.integers(60)), 200):
            answer = walk(grammar, chat.tokenizer, grammar.shortest + spare, rng)
            assert answer.whole, schema
            jsonschema.validate(json.loads(answer.text), schema)


def test_what_became_of_requests_is_written_to_a_file(tmp_path: Path, requests: list[StructuredRequest]) -> None:
    tally = Tally()
    for asked in requests[:3]:
        tally.take(asked, "", "stop", {"exit_reason": "budget"})
    report.write(tmp_path / "out.json", report.circumstances("validity", 0), [tally.told])
    (told,) = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["results"]
    assert told["counts"]["asked"] == 3
    assert told["exits"] == {"budget": 3}
    assert told["faults"] == tally.faults
    assert len(tally.faults) == 3


@pytest.fixture(scope="module")
def requests() -> list[StructuredRequest]:
    draws = Draws(5, bundled_questions(10, seed=5))
    return [draws.draw() for _ in range(36)]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "threshold"), [("two", 0.5), ("one", 0.9)])
def test_every_answer_of_a_server_under_load_validates(
    requests: list[StructuredRequest], form: str, threshold: float
) -> None:
    tally = asyncio.run(turn(requests, threshold, at_once=12, form=form, batch=6))
    assert tally.faults == []
    assert tally.counts["asked"] == len(requests)
    assert tally.counts["valid"] > len(requests) / 2
