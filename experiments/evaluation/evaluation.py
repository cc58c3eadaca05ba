"""Asks a model questions through the engine and records the graded answers, with every probe of every thought.

With the default limits each question is answered with its full thought, probed at every transition point without ever
being closed. The record of those probes then tells, for any threshold, where the thought would have ended, with which
answer, and at what price: decoding is deterministic, so what came before that point would have been the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from controller.policy import FixedPolicy, Limits
from controller.serving.loop import ServingLoop
from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, ExitReason, Outcome, ReasoningRequest
from engine.base import CapacityError, Engine, EngineError, FinishReason, Sampling
from experiments.question import Question
from models.chat_model import ChatModel
from models.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A probe of a thought, graded."""

    thought_tokens: int
    beyond: int  # tokens that the thought decoded beside the probe
    answer: str
    confidence: float  # geometric mean of the answer's token probabilities
    joint: float  # their product
    right: bool
    rows: int  # of the probe: its suffix and trial answer
    log_probs: tuple[float, ...] = ()  # of the answer's tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """One question's reply, and all the probes of its thought."""

    question: Question
    reply: str  # what followed the thought
    right: bool
    tokens: int  # of the whole reply
    thought_tokens: int
    rows: int  # token rows decoded for it in all: reply, withdrawn tokens, probes
    ended: bool  # by itself, not by the token limit
    exit_reason: ExitReason | None  # why the thought ended, a budget set by max_tokens included; None: it never did
    transitions: int  # places at which a probe was begun
    probes: tuple[Asked, ...]  # those that ended: the last transition may be where the thought was closed
    first_answer: int | None  # the first of them after a conclusion: the thought has stated its result
    thought: tuple[int, ...] = ()  # token ids; empty if it never ended

    @property
    def natural(self) -> bool:
        """Whether the model itself closed the thought."""
        return self.exit_reason is ExitReason.NATURAL

    @property
    def verified_from(self) -> Asked | None:
        """The probe of the first answer; what the thought goes on with is verification."""
        return None if self.first_answer is None else self.probes[self.first_answer]


FULL_THOUGHT = Limits(threshold=math.inf)  # probed at every transition point, never closed


def evaluation_loop(engine: Engine, model: ChatModel, limits: Limits = FULL_THOUGHT) -> ServingLoop:
    """A loop that holds every thought to the same limits."""
    return ServingLoop(
        engine=engine,
        tokenizer=model.tokenizer,
        thinking=model.thinking,
        policy=FixedPolicy(limits),
        stop_tokens=model.stop_tokens,
        clock=time.monotonic,
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
    """Answer all questions through the engine, batched; records in the questions' order. See `evaluate_stream`."""
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
    """Answer all questions through the engine, batched: each one's number and record as soon as it has its answer.

    Greedy, or at `temperature` with draws that depend on `seed` and the question's number alone. Raises as `answering`.
    """
    asked = []
    for number, question in enumerate(questions):
        drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        request = ReasoningRequest(
            prompt=model.prompt([{"role": "user", "content": question.text}]),
            max_tokens=max_tokens,
            sampling=Sampling(temperature=temperature, seed=drawn),
        )
        asked.append((question, request))
    yield from answering(loop, model, asked)


def answering(
    loop: ServingLoop, model: ChatModel, asked: Sequence[tuple[Question, ReasoningRequest]]
) -> Iterator[tuple[int, EvaluationRecord]]:
    """Serve requests for questions, batched: each one's number and record as soon as it has its answer.

    Raises CapacityError, naming the question, where one is too long, and EngineError where one has failed.
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


@dataclass(slots=True)
class _Recorder:
    """Listens to one question's reply and grades it and its probes."""

    question: Question
    conclusions: tuple[str, ...]
    on_answer: Callable[[], None]
    thought: str = ""
    reply: str = ""
    probes: list[Asked] = field(default_factory=list)
    first_answer: int | None = None
    outcome: Outcome | None = None

    def take(self, item: Delta | Outcome) -> None:
        if isinstance(item, Outcome):
            self.outcome = item
            self.on_answer()
        elif item.channel is Channel.CONTENT:
            self.reply += item.text
        else:
            self.thought += item.text

    def observe(self, seen: Checkpoint) -> None:
        # the loop releases a thought up to a running probe's fork and no further: this is all that the probe has seen
        if self.first_answer is None and any(text in self.thought for text in self.conclusions):
            self.first_answer = len(self.probes)
        self.probes.append(
            Asked(
                thought_tokens=seen.thought_tokens,
                beyond=seen.beyond,
                answer=seen.answer,
                confidence=Score.GEOMETRIC_MEAN.confidence(seen.log_probs),
                joint=seen.joint,
                right=self.question.grade_boxed(seen.answer),
                rows=seen.rows,
                log_probs=seen.log_probs,
            )
        )

    def finished(self) -> EvaluationRecord:
        outcome = self.outcome
        assert outcome is not None, "the loop is idle, so every request has ended"
        if outcome.finish_reason is FinishReason.ERROR:
            raise EngineError(f"question {self.question.text[:60]!r} has failed: {outcome.error}")
        thought = outcome.thought
        return EvaluationRecord(
            question=self.question,
            reply=self.reply,
            right=self.question.grade(self.reply),
            tokens=outcome.completion_tokens,
            thought_tokens=thought.tokens if thought else outcome.completion_tokens,
            rows=outcome.completion_tokens + (thought.withdrawn_tokens + thought.probe_rows if thought else 0),
            ended=outcome.finish_reason is FinishReason.STOP,
            exit_reason=thought.exit_reason if thought else None,
            transitions=thought.probes if thought else len(self.probes),
            probes=tuple(self.probes),
            first_answer=self.first_answer,
            thought=thought.ids if thought else (),
        )
