"""Asks a model questions through the engine and records the graded answers, with every probe of every thought.

With the default limits each question is answered with its full thought, which is probed at every transition point and
never closed. The recorded probes then give, for any threshold, the point at which the thought would have ended, its
answer and its cost: decoding is deterministic, so everything before that point would have been the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from controller.policy import FixedPolicy, Limits
from controller.serving.loop import ServingLoop
from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, ExitReason, Outcome, ReasoningRequest
from engine.base import CapacityError, Engine, EngineError, FinishReason, Sampling
from experiments.grading.exact import last_answer
from experiments.grading.grade import Grade, GradedBy, as_grade
from experiments.question import Question
from models.chat_model import ChatModel
from models.kinds.kind import AnswerForm, AnswerKind
from models.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A probe of a thought, with its answer graded."""

    thought_tokens: int  # tokens of the thought before the probe's fork
    beyond: int  # tokens that the thought decoded while the probe ran
    answer: str  # trial answer
    confidence: float  # geometric mean of the answer's token probabilities
    joint: float  # product of the answer's token probabilities
    right: bool  # whether the trial answer is right
    rows: int  # token rows of the probe: its suffix and trial answer
    log_probs: tuple[float, ...] = ()  # of the answer's tokens
    graded_by: GradedBy = GradedBy.EXACT
    same: bool | None = None  # whether the full thought gives the same answer; None: not compared


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """One question's reply, and all the probes of its thought."""

    question: Question
    reply: str  # the text after the thought
    right: bool
    tokens: int  # of the whole reply
    thought_tokens: int
    rows: int  # all token rows decoded for the question: reply, withdrawn tokens, probes
    ended: bool  # whether the reply ended by itself, not by the token limit
    exit_reason: str | None  # why the thought ended, a budget set by max_tokens included; None: it never ended
    transitions: int  # number of probes begun
    probes: tuple[Asked, ...]  # that ended; the probe at the last transition may have been dropped
    first_answer: int | None  # index of the first probe after the thought stated a result; None: there is none
    thought: tuple[int, ...] = ()  # token ids; empty if it never ended
    graded_by: GradedBy = GradedBy.EXACT

    @property
    def natural(self) -> bool:
        """Whether the model itself closed the thought."""
        return self.exit_reason == ExitReason.NATURAL

    @property
    def grades(self) -> Iterator[Grade]:
        """The grades of the reply and of the probes' answers."""
        yield Grade(self.right, self.graded_by)
        for probe in self.probes:
            yield Grade(probe.right, probe.graded_by)

    @property
    def verified_from(self) -> Asked | None:
        """The probe at the first answer (None: no first answer); the thought after it is verification."""
        return None if self.first_answer is None else self.probes[self.first_answer]


FULL_THOUGHT = Limits(threshold=math.inf)  # probed at every transition point, never closed


def evaluation_loop(
    engine: Engine, model: ChatModel, limits: Limits = FULL_THOUGHT, score: Score | None = None
) -> ServingLoop:
    """Returns a serving loop that applies the same limits to every thought; `score` None: the thinking format's."""
    return ServingLoop(
        engine=engine,
        tokenizer=model.tokenizer,
        thinking=model.thinking,
        policy=FixedPolicy(limits),
        stop_tokens=model.stop_tokens,
        clock=time.monotonic,
        score=score,
        rows=model.rows,
        every_probe=True,  # what is measured is to hold on any engine
    )


def evaluate(
    loop: ServingLoop,
    model: ChatModel,
    questions: Sequence[Question],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    on_answer: Callable[[], None] = lambda: None,
) -> list[EvaluationRecord]:
    """Answers all questions, batched, and returns the records in the questions' order. See `evaluate_stream`."""
    found: dict[int, EvaluationRecord] = {}
    for number, one in evaluate_stream(
        loop, model, questions, max_tokens=max_tokens, temperature=temperature, seed=seed
    ):
        found[number] = one
        on_answer()
    return [found[number] for number in range(len(questions))]


def evaluate_stream(
    loop: ServingLoop,
    model: ChatModel,
    questions: Sequence[Question],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> Iterator[tuple[int, EvaluationRecord]]:
    """Answers all questions, batched, and yields each question's number and record as soon as its reply ends.

    Decoding is greedy, or samples at `temperature` with draws that depend on `seed` and the question's number alone.
    Raises the errors of `answering`.
    """
    asked = []
    for number, question in enumerate(questions):
        drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        request = ReasoningRequest(
            prompt=model.question(question.text),
            max_tokens=max_tokens,
            sampling=Sampling(temperature=temperature, seed=drawn),
            answer=AnswerKind.SHORT,
            form=AnswerForm.BOX,  # exits are judged by trial answers
        )
        asked.append((question, request))
    yield from answering(loop, model, asked)


def answering(
    loop: ServingLoop, model: ChatModel, asked: Sequence[tuple[Question, ReasoningRequest]]
) -> Iterator[tuple[int, EvaluationRecord]]:
    """Serves the questions' requests, batched, and yields each one's number and record as soon as its reply ends.

    Raises CapacityError if a request is too long, and EngineError if a request fails; both name the question.
    """
    done: list[int] = []
    recorders = [
        _Recorder(question, model.thinking.format.conclusions, partial(done.append, number))
        for number, (question, _) in enumerate(asked)
    ]
    for recorder, (question, request) in zip(recorders, asked, strict=True):
        try:
            loop.submit(request, recorder.take, recorder.observe)
        except CapacityError as error:
            raise CapacityError(f"question {question.text[:60]!r}: {error}") from error
    while loop.busy:
        loop.tick()
        while done:
            number = done.pop(0)
            yield number, recorders[number].finished()


def same_answer(question: Question, right: bool, answer: str, full_right: bool, full: str) -> bool:
    """Whether an exit's answer is the full thought's: both are right, or both wrong in the same way."""
    if right or full_right:
        return right and full_right
    return as_grade(question.same(answer, full)).right if full.strip() else not answer.strip()


@dataclass(slots=True)
class _Recorder:
    """Receives one question's reply and probes from the loop, and grades them."""

    question: Question
    conclusions: tuple[str, ...]
    on_answer: Callable[[], None]
    thought: str = ""
    reply: str = ""
    probes: list[Asked] = field(default_factory=list)
    first_answer: int | None = None  # None: not stated yet
    outcome: Outcome | None = None  # None: the reply has not ended

    def take(self, item: Delta | Outcome) -> None:
        if isinstance(item, Outcome):
            self.outcome = item
            self.on_answer()
        elif item.channel is Channel.CONTENT:
            self.reply += item.text
        else:
            self.thought += item.text

    def observe(self, seen: Checkpoint) -> None:
        # the loop releases the thought only up to a running probe's fork, so `self.thought` is what the probe has seen
        if self.first_answer is None and any(text in self.thought for text in self.conclusions):
            self.first_answer = len(self.probes)
        grade = as_grade(self.question.grade_boxed(seen.answer))
        self.probes.append(
            Asked(
                thought_tokens=seen.thought_tokens,
                beyond=seen.beyond,
                answer=seen.answer,
                confidence=Score.GEOMETRIC_MEAN.confidence(seen.log_probs),
                joint=seen.joint,
                right=grade.right,
                rows=seen.rows,
                log_probs=seen.log_probs,
                graded_by=grade.by,
            )
        )

    def finished(self) -> EvaluationRecord:
        outcome = self.outcome
        assert outcome is not None, "the loop is idle, so every request has ended"
        if outcome.finish_reason is FinishReason.ERROR:
            raise EngineError(f"question {self.question.text[:60]!r} has failed: {outcome.error}")
        thought = outcome.thought
        unended = thought.exit_reason is None
        grade = as_grade(self.question.grade(self.reply))
        answer = last_answer(self.reply)
        return EvaluationRecord(
            question=self.question,
            reply=self.reply,
            right=grade.right,
            tokens=outcome.completion_tokens,
            thought_tokens=outcome.completion_tokens if unended else thought.tokens,
            rows=outcome.rows,
            ended=outcome.finish_reason is FinishReason.STOP,
            exit_reason=thought.exit_reason,
            transitions=len(self.probes) if unended else thought.probes,
            probes=tuple(
                replace(probe, same=same_answer(self.question, probe.right, probe.answer, grade.right, answer))
                for probe in self.probes
            ),
            first_answer=self.first_answer,
            thought=thought.ids,
            graded_by=grade.by,
        )
