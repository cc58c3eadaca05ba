"""Answers the questions that a calibration's log lacks: full thoughts, and replies after a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controller.serving.loop import ServingLoop
from controller.serving.request import ReasoningRequest
from experiments.calibration.traces import Budgets, ClosedReply, TraceLog, trace
from experiments.evaluation.evaluation import answering, evaluate_stream, same_answer
from experiments.grading.exact import last_answer
from experiments.question import Question
from models.chat_model import ChatModel
from models.kinds.kind import AnswerForm, AnswerKind


def record_thoughts(
    loop: ServingLoop,
    model: ChatModel,
    questions: Sequence[Question],
    log: TraceLog,
    *,
    max_tokens: int,
    numbers: Sequence[int] | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> None:
    """Answers the questions that the log lacks, with full thought; `loop` must probe and never close a thought.

    `numbers`: of the questions that are asked; None: all.
    """
    missing = [n for n in (range(len(questions)) if numbers is None else numbers) if n not in log.traces]
    for place, record in evaluate_stream(loop, model, [questions[number] for number in missing], max_tokens=max_tokens):
        number = missing[place]
        prompt = model.question(questions[number].text)
        log.add(trace(number, prompt, record))
        on_done()


def missing_closings(log: TraceLog, budgets: Budgets) -> list[tuple[int, int]]:
    """Returns each (question, budget) whose budget would close the thought and whose reply the log lacks."""
    return [
        (number, budget)
        for number, one in sorted(log.traces.items())
        for budget in budgets
        if budget <= len(one.thought) and (number, budget) not in log.closings
    ]


def record_closings(
    loop: ServingLoop,
    model: ChatModel,
    questions: Sequence[Question],
    log: TraceLog,
    budgets: Budgets,
    *,
    max_tokens: int,
    on_done: Callable[[], None] = lambda: None,
) -> None:
    """Closes the log's thoughts at these budgets, as serving would, and records the model's replies.

    The thought up to a budget is part of the prompt, so no thought is decoded again.
    """
    landing = model.thinking.landing
    missing = missing_closings(log, budgets)
    asked = []
    for number, budget in missing:
        one = log.traces[number]
        request = ReasoningRequest(
            prompt=one.prompt + one.thought[:budget],
            max_tokens=max_tokens - budget - len(landing),
            budget=0,  # the landing closes the thought in the prompt, and what follows the closing marker is answer
            answer=AnswerKind.SHORT,
            form=AnswerForm.BOX,
        )
        asked.append((questions[number], request))
    for place, record in answering(loop, model, asked):
        number, budget = missing[place]
        one, answer = log.traces[number], last_answer(record.reply)
        log.add(
            ClosedReply(
                number=number,
                budget=budget,
                right=record.right,
                tokens=len(landing) + record.tokens,
                graded_by=record.graded_by,
                same=None
                if one.answer is None
                else same_answer(questions[number], record.right, answer, one.right, one.answer),
                answer=answer,
            )
        )
        on_done()
