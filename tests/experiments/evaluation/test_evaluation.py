"""Recording: what a model says is taken down through the engine, with its probes and first answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from controller.policy import Limits
from controller.serving.request import ExitReason
from engine.base import CapacityError
from engine.torch.engine import TorchEngine, TorchEngineConfig
from engine.torch.load import load_model
from experiments.evaluation.evaluation import EvaluationRecord, evaluate, evaluation_loop, same_answer
from experiments.evaluation.questions import bundled_questions
from experiments.evaluation.report import evaluation
from experiments.evaluation.summary import summary
from experiments.evaluation.sweeps import exit_point, replay
from experiments.grading.grade import Grade, GradeCounts, GradedBy
from experiments.question import Question
from models.chat_model import ChatModel, load_chat_model
from models.reasoner import bundled_model
from models.reasoner.tasks import FAMILIES, held_out
from tests.support.live_server import save_confident_model

pytestmark = pytest.mark.slow

FORMAT = """\
landing: "</think>\\n\\n"
answer_reserve: 8
probe:
  suffix: "</think>{"
  max_answer_tokens: 2
transitions:
  min_gap: 2
"""


@pytest.fixture(scope="module")
def confident(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It thinks ` the ⏎⏎ the ⏎⏎ …` without end, and answers 7 with confidence 0.97."""
    return save_confident_model(tmp_path_factory.mktemp("confident"))


def chat_with(directory: Path, tmp_path: Path, conclusions: str = "") -> ChatModel:
    file = tmp_path / "format.yaml"
    file.write_text(FORMAT + conclusions, encoding="utf-8")
    return load_chat_model(directory, file)


def seven(text: str = "Seven?") -> Question:
    return Question(
        text=text, benchmark="any", split=None, grade=lambda reply: "7" in reply, grade_boxed=lambda boxed: boxed == "7"
    )


def test_evaluation_questions_are_distinct_held_out_and_the_same_for_a_seed() -> None:
    questions = bundled_questions(20, seed=3)
    texts = [question.text for question in questions]
    assert len(set(texts)) == len(texts) == 20 * len(FAMILIES)
    assert list(dict.fromkeys(question.benchmark for question in questions)) == list(FAMILIES)
    assert all(held_out(text) for text in texts)
    assert texts == [question.text for question in bundled_questions(20, seed=3)]


def test_the_first_answer_is_the_first_probe_that_has_seen_a_conclusion(confident: Path, tmp_path: Path) -> None:
    chat = chat_with(confident, tmp_path, 'conclusions: ["never said", "the\\n\\n the\\n\\n the\\n\\n the"]\n')
    (one,) = evaluate(evaluation_loop(TorchEngine(load_model(confident)), chat), chat, [seven()], max_tokens=60)
    assert one.first_answer is not None
    assert one.first_answer > 0
    assert [probe.thought_tokens >= 7 for probe in one.probes].index(True) == one.first_answer
    assert one.verified_from == one.probes[one.first_answer]


@pytest.mark.parametrize("conclusions", ["", 'conclusions: ["never said"]\n'])
def test_a_thought_without_conclusion_has_no_first_answer(confident: Path, tmp_path: Path, conclusions: str) -> None:
    chat = chat_with(confident, tmp_path, conclusions)
    (one,) = evaluate(evaluation_loop(TorchEngine(load_model(confident)), chat), chat, [seven()], max_tokens=60)
    assert (one.first_answer, one.verified_from) == (None, None)
    assert one.probes
    assert all(probe.right and probe.answer == "7" for probe in one.probes)
    assert all(probe.joint == pytest.approx(probe.confidence) == pytest.approx(0.97, abs=0.01) for probe in one.probes)
    assert not one.natural  # it would think for ever: max_tokens closes it
    assert one.thought_tokens == max(one.thought_tokens, *(probe.thought_tokens for probe in one.probes))


def test_a_budget_closes_every_thought(confident: Path, tmp_path: Path) -> None:
    chat = chat_with(confident, tmp_path)
    loop = evaluation_loop(TorchEngine(load_model(confident)), chat, Limits(budget=12))
    records = evaluate(loop, chat, [seven(), seven("And you?")], max_tokens=60)
    assert [(one.thought_tokens, one.transitions, one.natural) for one in records] == [(12, 0, False)] * 2


def test_sampling_depends_on_the_seed_alone(confident: Path, tmp_path: Path) -> None:
    chat = chat_with(confident, tmp_path)
    packed = load_model(confident)

    def tokens(seed: int) -> list[tuple[str, int]]:
        loop = evaluation_loop(TorchEngine(packed), chat, Limits())
        drawn = evaluate(loop, chat, [seven()] * 3, max_tokens=60, temperature=2.0, seed=seed)
        return [(one.reply, one.tokens) for one in drawn]

    assert tokens(1) == tokens(1) != tokens(2)
    assert len(set(tokens(1))) > 1


def test_a_question_that_is_too_long_is_named(confident: Path, tmp_path: Path) -> None:
    chat = chat_with(confident, tmp_path)
    loop = evaluation_loop(TorchEngine(load_model(confident), TorchEngineConfig(cells=128)), chat)
    with pytest.raises(CapacityError, match=r"question 'How many .* the prompt has .* must be at most"):
        evaluate(loop, chat, [seven("How many " * 100)], max_tokens=60)


def test_the_bundled_model_is_recorded_through_the_engine_with_all_its_probes() -> None:
    chat = load_chat_model(bundled_model())
    packed = load_model(bundled_model())
    questions = bundled_questions(4, seed=5)
    records = evaluate(evaluation_loop(TorchEngine(packed), chat), chat, questions, max_tokens=640)
    assert [one.question for one in records] == questions
    assert all(one.ended and one.probes for one in records)
    assert all(one.natural or one.tokens > 600 for one in records)  # a search or checks may not end
    assert sum(one.natural for one in records) >= 12
    assert all(0.0 <= probe.joint <= probe.confidence <= 1.0 for one in records for probe in one.probes)
    assert all(len(one.probes) <= one.transitions <= len(one.probes) + 1 for one in records)
    assert sum(one.right for one in records) >= 15
    told = exit_point(records, replay(records, 0.9, chat.thinking.format.probe.score), np.random.default_rng(0))
    assert 0.0 < told.saved < told.gross
    served = evaluate(
        evaluation_loop(TorchEngine(packed), chat, Limits(threshold=0.9)), chat, questions, max_tokens=640
    )
    assert sum(one.right for one in served) / len(served) == pytest.approx(told.accuracy, abs=0.1)
    assert sum(one.rows for one in served) / len(served) == pytest.approx(told.tokens, rel=0.1)


def test_a_margin_closes_thoughts_of_the_bundled_model_and_the_answers_still_come() -> None:
    chat, model = load_chat_model(bundled_model()), load_model(bundled_model())

    def served(limits: Limits, questions: list[Question]) -> list[EvaluationRecord]:
        return evaluate(evaluation_loop(TorchEngine(model), chat, limits), chat, questions, max_tokens=640)

    full = [one for one in served(Limits(), bundled_questions(3, seed=4)) if one.natural]
    questions = [one.question for one in full]
    assert len(questions) >= 6
    never, some, first = (served(Limits(margin=margin), questions) for margin in (0.0, 8.0, 1e6))
    # greedily a thought closes itself where its close is the likeliest token: probes only cost their rows
    assert [one.reply for one in never] == [one.reply for one in full]
    assert all(one.natural and one.rows - one.tokens in (one.transitions, one.transitions - 1) for one in never)
    assert all(one.exit_reason is ExitReason.MARGIN and one.transitions == 1 for one in first)
    assert any(one.exit_reason is ExitReason.MARGIN for one in some)
    for early, whole in zip(some, full, strict=True):
        assert early.thought == whole.thought[: early.thought_tokens]
    for one in (*some, *first):
        assert one.ended
        assert "\\boxed{" in one.reply
        closed = one.exit_reason is ExitReason.MARGIN
        assert one.rows == one.tokens + one.transitions + closed  # two are withdrawn, one row is the reply's


@pytest.mark.parametrize(
    ("right", "answer", "full_right", "full", "same"),
    [
        (True, "1/2", True, "0.5", True),
        (True, "1/2", False, "0.4", False),
        (False, "0.4", True, "1/2", False),
        (False, "4 km", False, "4 kilometers", True),
        (False, "4", False, "5", False),
        (False, "4", False, "", False),  # the full thought has no answer
        (False, " ", False, "", True),
    ],
)
def test_exits_answer_as_the_full_thought_if_both_are_right_or_wrong_in_the_same_way(
    right: bool, answer: str, full_right: bool, full: str, same: bool
) -> None:
    (question, *_) = bundled_questions(1, seed=1)
    assert same_answer(question, right, answer, full_right, full) is same


def test_a_question_s_grader_says_who_decided_and_the_record_keeps_it(confident: Path, tmp_path: Path) -> None:
    def grade(_: str) -> Grade:
        return Grade(False, GradedBy.UNDECIDED)

    chat = chat_with(confident, tmp_path)
    question = Question(text="Say 7.", benchmark="any", split=None, grade=grade, grade_boxed=grade)
    loop = evaluation_loop(TorchEngine(load_model(confident)), chat)
    (record,) = evaluate(loop, chat, [question], max_tokens=60)
    assert record.probes
    assert {grade.by for grade in record.grades} == {GradedBy.UNDECIDED}
    figures = evaluation([record], [], np.random.default_rng(0))
    count = 1 + len(record.probes)
    assert figures.grading == GradeCounts(exact=0, math_verify=0, undecided=count, overruled=0)
    assert f"answers and probes graded by: exact 0, math-verify 0, undecided {count}" in summary(figures)
